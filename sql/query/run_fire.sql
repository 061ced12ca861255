-- One extra firing now: of a trigger, or of a job if no trigger has the name. No row: neither exists.
-- $1 name: of a trigger or a job
-- on: client
WITH wanted AS (
    SELECT abs(d.route) AS route, t.job_id, t.id AS trigger_id, d.lane, j.held
      FROM rota.trigger t JOIN rota.trigger_due d ON d.trigger_id = t.id JOIN rota.job j ON j.id = t.job_id
     WHERE t.name = $1::text
    UNION ALL
    SELECT rota.route_of(j.handler, j.priority), j.id, NULL, rota.run_lane(j.id, NULL, NULL), j.held
      FROM rota.job j
     WHERE j.name = $1::text AND NOT EXISTS (SELECT FROM rota.trigger t WHERE t.name = $1::text)
), made AS (
    INSERT INTO rota.pending (route, due, job_id, trigger_id, scheduled_at, lane, held, held_due)
    SELECT CASE WHEN w.lane IS NULL THEN w.route ELSE -w.route END, CASE WHEN w.held THEN 'infinity' ELSE now() END,
           w.job_id, w.trigger_id, now(), w.lane, CASE WHEN w.held THEN 'P'::"char" END, CASE WHEN w.held THEN now() END
      FROM wanted w
    RETURNING id, trigger_id, lane, held
), told AS (
    SELECT pg_notify('rota.wake', CASE WHEN any_run.lane IS NULL THEN '' ELSE 'lane' END)
      FROM (SELECT m.lane FROM made m LIMIT 1) any_run
)
SELECT m.id, m.trigger_id IS NOT NULL, (SELECT count(*) FROM told) FROM made m
