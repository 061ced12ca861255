-- The triggers a manifest speaks of, all of the jobs found by manifest_read_jobs, and from elsewhere those
-- that use a calendar which changes or goes.
-- $1 names: declared triggers
-- $2 jobs: ids
-- $3 calendars: names of those that change or go
-- on: client
WITH spoken AS MATERIALIZED (
    SELECT t.id, t.name, t.job_id, t.priority, t.start_at, t.definition, t.calendar
      FROM rota.trigger t
     WHERE t.name = ANY ($1::text[]) OR t.job_id = ANY ($2::integer[]) OR t.calendar = ANY ($3::text[])
)
SELECT t.id, t.name, j.name, j.source, t.priority, t.start_at, t.definition, d.state, d.next_at, d.lane IS NOT NULL,
       t.calendar
  FROM spoken t CROSS JOIN LATERAL (SELECT k.name, k.source FROM rota.job k WHERE k.id = t.job_id LIMIT 1) j
       CROSS JOIN LATERAL (SELECT g.state, g.next_at, g.lane FROM rota.trigger_due g WHERE g.trigger_id = t.id LIMIT 1) d
