-- The triggers a manifest speaks of, all of the jobs found by manifest_read_jobs, and from elsewhere those
-- that use a calendar which changes or goes.
-- $1 names: declared triggers
-- $2 jobs: ids
-- $3 calendars: names of those that change or go
-- on: client
SELECT t.id, t.name, j.name, j.source, t.priority, t.start_at, t.definition, d.state, d.next_at, d.lane IS NOT NULL,
       t.calendar
  FROM rota.trigger t JOIN rota.job j ON j.id = t.job_id JOIN rota.trigger_due d ON d.trigger_id = t.id
 WHERE t.name = ANY ($1::text[]) OR t.job_id = ANY ($2::integer[]) OR t.calendar = ANY ($3::text[])
