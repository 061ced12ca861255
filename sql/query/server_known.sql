-- Ahead of all else on a new connection: numbers leave a gap on a server that may have forgotten the last ones.
-- Returns for how long it has been up or its timeline known, and the latter alone (NULL: it never changed).
-- on: session work
SELECT k.age_ms, k.timeline_ms FROM rota.server_known() k
