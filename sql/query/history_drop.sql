-- Drops the partitions of the history that are older than an age.
-- $1 age_ms: milliseconds
-- on: session
SELECT rota.history_drop(now() - $1::bigint * interval '1 ms')
