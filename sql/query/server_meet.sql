-- Ahead of all else on a new connection: numbers leave a gap on a server that may have forgotten the last ones.
-- Returns for how many ms its timeline has been known, NULL: it never changed.
-- on: session work
SELECT rota.server_meet()
