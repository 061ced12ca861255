-- The jobs a manifest speaks of, and all of the sources that are pruned.
-- $1 names: declared jobs
-- $2 sources: those that are pruned
-- on: client
SELECT j.id, j.name, j.source, j.handler, j.priority, j.definition, j.lane_limit IS NOT NULL
  FROM rota.job j
 WHERE j.name = ANY ($1::text[]) OR j.source = ANY ($2::text[])
