-- Retention at once, for the task task-history-cleanup: many transactions, so it stands for itself.
-- $1 keep: rows that stay at least, 0: all
-- $2 age_ms: milliseconds after which rows go, 0: never
-- on: client
CALL rota.history_cleanup($1::bigint, $2::bigint)
