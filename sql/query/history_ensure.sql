-- Partitions of the history for the days ahead.
-- $1 days: how many
-- on: session work
SELECT rota.history_ensure($1::integer)
