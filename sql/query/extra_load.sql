-- What claimed runs have beside their row: read once a claim, before they are given to a worker. From now on
-- what an older claim still says of them is void; what was shown of their last attempt is over.
-- $1 ids: of the runs
-- $2 fences: under which they were claimed
-- on: work
UPDATE rota.run_extra x
   SET fence = c.fence, fraction = NULL, message = NULL
  FROM unnest($1::bigint[], $2::bigint[]) AS c(run_id, fence)
 WHERE x.run_id = c.run_id AND coalesce(x.fence, 0) <= c.fence
RETURNING x.run_id, c.fence, x.traceparent, coalesce(x.expires_at <= now(), false)
