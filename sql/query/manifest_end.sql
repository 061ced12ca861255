-- Waiting runs of what is about to be removed end as cancelled; claimed ones finish under the name they
-- carry. Returns how many ended.
-- $1 jobs: ids
-- $2 triggers: ids of those whose waiting runs end, too, though their jobs stay
-- $3 reason: why, for the history
-- on: client
SELECT rota.job_end($1::integer[], $2::integer[], 'cancelled: ' || $3::text)
