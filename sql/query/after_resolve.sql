-- These runs are over: who waited for them is let go, or ended. Returns how many of each.
-- $1 runs: their ids
-- on: work
SELECT r.released, r.ended FROM rota.after_resolve($1::bigint[], true) r
