-- Drops requests to cancel whose runs are over, and acts on those whose runs wait again.
-- $1 runs: their ids
-- on: work
SELECT count(*) FROM rota.cancel_act($1::bigint[]) a
