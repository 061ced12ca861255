-- Queues runs of a job. No id: there is no such job.
-- $1 job: its name
-- $2 data: laid over the job's; NULL for none
-- $3 at: when it may start; NULL: after $4
-- $4 delay_ms: milliseconds from now
-- $5 priority: NULL: the job's
-- $6 count: how many runs
-- on: client
WITH wanted AS (
    SELECT j.id AS job_id, rota.route_of(j.handler, coalesce($5::smallint, j.priority)) AS route,
           coalesce($3::timestamptz, now() + $4::bigint * interval '1 ms') AS due
      FROM rota.job j WHERE j.name = $1::text
), made AS (
    INSERT INTO rota.pending (route, due, job_id, scheduled_at, data)
    SELECT w.route, w.due, w.job_id, w.due, $2::json
      FROM wanted w CROSS JOIN generate_series(1, $6::integer)
    RETURNING id
), told AS (
    SELECT pg_notify('rota.wake', '') FROM (SELECT FROM made LIMIT 1) any_run
)
SELECT ARRAY(SELECT m.id FROM made m ORDER BY m.id), (SELECT count(*) FROM told)
