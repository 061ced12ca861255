-- One extra firing now: of a trigger, or of a job if no trigger has the name. No row: neither exists.
-- $1 name: of a trigger or a job
-- on: client
WITH wanted AS (
    SELECT d.route, t.job_id, t.id AS trigger_id
      FROM rota.trigger t JOIN rota.trigger_due d ON d.trigger_id = t.id
     WHERE t.name = $1::text
    UNION ALL
    SELECT rota.route_of(j.handler, j.priority), j.id, NULL
      FROM rota.job j
     WHERE j.name = $1::text AND NOT EXISTS (SELECT FROM rota.trigger t WHERE t.name = $1::text)
), made AS (
    INSERT INTO rota.pending (route, due, job_id, trigger_id, scheduled_at)
    SELECT w.route, now(), w.job_id, w.trigger_id, now() FROM wanted w
    RETURNING id, trigger_id
), told AS (
    SELECT pg_notify('rota.wake', '') FROM (SELECT FROM made LIMIT 1) any_run
)
SELECT m.id, m.trigger_id IS NOT NULL, (SELECT count(*) FROM told) FROM made m
