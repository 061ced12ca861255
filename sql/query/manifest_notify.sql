-- Tells the nodes that definitions, and perhaps routes, have changed; an empty payload would only say
-- that a run waits.
-- on: client
SELECT pg_notify('rota.wake', 'definitions')
