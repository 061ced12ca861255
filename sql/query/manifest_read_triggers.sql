-- The triggers a manifest speaks of, and all of the jobs found by manifest_read_jobs.
-- $1 names: declared triggers
-- $2 jobs: ids
-- on: client
SELECT t.id, t.name, j.name, j.source, t.priority, t.start_at, t.definition, d.state, d.next_at,
       d.lane IS NOT NULL
  FROM rota.trigger t JOIN rota.job j ON j.id = t.job_id JOIN rota.trigger_due d ON d.trigger_id = t.id
 WHERE t.name = ANY ($1::text[]) OR t.job_id = ANY ($2::integer[])
