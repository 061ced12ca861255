-- Tells the nodes that definitions have changed.
-- on: client
SELECT pg_notify('rota.wake', '')
