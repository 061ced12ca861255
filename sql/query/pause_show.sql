-- What is in a scope, and what is paused of it, by whatever name.
-- $1 scope: trigger, job, source, all
-- $2 name: NULL with all
-- on: client
WITH job AS MATERIALIZED (
    SELECT j.id, j.source, j.paused FROM rota.job j
     WHERE CASE $1::text WHEN 'all' THEN true
                         WHEN 'source' THEN j.source = $2::text
                         WHEN 'job' THEN j.name = $2::text
                         ELSE j.id = (SELECT t.job_id FROM rota.trigger t WHERE t.name = $2::text) END
), stopped AS MATERIALIZED (
    SELECT t.id, t.paused
      FROM job JOIN rota.trigger t ON t.job_id = job.id JOIN rota.trigger_due d ON d.trigger_id = t.id
     WHERE d.paused AND ($1::text <> 'trigger' OR t.name = $2::text)
)
SELECT (SELECT count(*) FROM job), (SELECT count(*) FROM stopped),
       (SELECT count(*) FROM rota.pending p WHERE p.held = 'P' AND p.job_id IN (SELECT job.id FROM job))
       + (SELECT coalesce(sum(b.size - b.taken), 0) FROM rota.bundle b WHERE b.held_due IS NOT NULL AND b.job_id IN (SELECT job.id FROM job))::bigint,
       array_remove(ARRAY[CASE WHEN (SELECT f.paused FROM rota.fleet f) THEN 'all' END,
                          CASE WHEN EXISTS (SELECT FROM job JOIN rota.source_pause s ON s.source = job.source) THEN 'source' END,
                          CASE WHEN EXISTS (SELECT FROM job WHERE job.paused) THEN 'job' END,
                          CASE WHEN EXISTS (SELECT FROM stopped s WHERE s.paused) THEN 'trigger' END], NULL)
