-- Lets the next migration begin.
-- on: client
SELECT pg_advisory_unlock(hashtextextended('rota.migrate', 0))
