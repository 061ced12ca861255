-- Releases of cluster locks, for a session that waits for one.
-- on: session client
LISTEN "rota.lock"
