-- Waiting runs of jobs that have a max_pending now, or have none any more. Firings of triggers do not count.
-- $1 jobs: their names
-- on: client
UPDATE rota.pending p SET counted = j.max_pending IS NOT NULL
  FROM rota.job j
 WHERE j.name = ANY ($1::text[]) AND p.job_id = j.id AND p.trigger_id IS NULL
   AND p.counted <> (j.max_pending IS NOT NULL)
