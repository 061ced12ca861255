-- Releases of cluster locks, for a session that waits for one. As session_listen: refused, it costs time only.
-- on: client
LISTEN "rota.lock"
