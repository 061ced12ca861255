-- Does the next thing that the history needs, and says what. No row: nothing is to be done.
-- $1 keep: rows that stay at least, 0: all
-- $2 age_ms: milliseconds after which rows go, 0: never
-- on: session
SELECT s.did, s.name, s.rows FROM rota.history_step($1::bigint, $2::bigint) s
