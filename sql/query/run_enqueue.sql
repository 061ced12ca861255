-- Queues runs of a job. No id: there is no such job.
-- $1 job: its name
-- $2 data: laid over the job's; NULL for none
-- $3 at: when it may start; NULL: after $4
-- $4 delay_ms: milliseconds from now
-- $5 priority: NULL: the job's
-- $6 count: how many runs
-- on: client
WITH wanted AS (
    SELECT j.id AS job_id, rota.route_of(j.handler, coalesce($5::smallint, j.priority)) AS route, j.held,
           coalesce($3::timestamptz, now() + $4::bigint * interval '1 ms') AS due,
           CASE WHEN j.lane_limit IS NOT NULL THEN rota.run_lane(j.id, NULL, $2::json) END AS lane
      FROM rota.job j WHERE j.name = $1::text
), made AS (
    INSERT INTO rota.pending (route, due, job_id, scheduled_at, data, lane, held, held_due)
    SELECT CASE WHEN w.lane IS NULL THEN w.route ELSE -w.route END, CASE WHEN w.held THEN 'infinity' ELSE w.due END,
           w.job_id, w.due, $2::json, w.lane, CASE WHEN w.held THEN 'P'::"char" END, CASE WHEN w.held THEN w.due END
      FROM wanted w CROSS JOIN generate_series(1, $6::integer)
    RETURNING id, lane
), told AS (
    SELECT pg_notify('rota.wake', CASE WHEN any_run.lane IS NULL THEN '' ELSE 'lane' END)
      FROM (SELECT m.lane FROM made m LIMIT 1) any_run
)
SELECT ARRAY(SELECT m.id FROM made m ORDER BY m.id), (SELECT count(*) FROM told)
