-- Forgets what was run again or discarded before the history that is kept begins.
-- on: session
SELECT rota.settled_trim()
