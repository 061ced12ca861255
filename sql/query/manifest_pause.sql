-- Triggers that went to another job are paused as that one is.
-- $1 jobs: names of those they went to
-- on: client
SELECT rota.pause_settle(ARRAY(SELECT j.id FROM rota.job j WHERE j.name = ANY ($1::text[])), false)
