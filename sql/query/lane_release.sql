-- Gives back the slots of runs that have left their receipts and wakes who waits for them; in the
-- transaction that finished them or put them back.
-- $1 runs: their ids
-- $2 fences: under which they were claimed
-- on: work
SELECT rota.lane_release($1::bigint[], $2::bigint[])
