-- Gives up the housekeeping; another node takes it with its next heartbeat.
-- $1 lock_class: first half of the advisory locks
-- on: session
SELECT pg_advisory_unlock($1::integer, 0)
