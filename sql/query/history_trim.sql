-- Drops the oldest partitions of the history beyond a number of rows.
-- $1 keep: rows that stay at least
-- on: session
SELECT rota.history_trim($1::bigint)
