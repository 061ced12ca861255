-- Triggers and jobs that are declared no more, or deleted. Waiting runs of the jobs end as cancelled;
-- claimed ones finish under the name they carry. Returns how many were cancelled.
-- $1 triggers: ids
-- $2 jobs: ids
-- $3 run_triggers: ids of those triggers whose waiting runs end, too, though their jobs stay
-- $4 reason: why, for the history
-- on: client
WITH cancelled AS (
    DELETE FROM rota.pending p WHERE p.job_id = ANY ($2::integer[]) OR p.trigger_id = ANY ($3::integer[])
    RETURNING p.id, p.job_id, p.trigger_id, p.attempt, p.missed, p.scheduled_at, p.earlier
), over AS (
    INSERT INTO rota.task_history (id, task, trigger, ended_at, status, outcome, attempt, missed, scheduled_at, task_details)
    SELECT c.id, j.name, t.name, now(), 'failed', 'cancelled', c.attempt, c.missed, c.scheduled_at,
           jsonb_strip_nulls(jsonb_build_object('status', 'failed', 'message',
               'cancelled: ' || $4::text, 'attempts', c.earlier))::json
      FROM cancelled c JOIN rota.job j ON j.id = c.job_id LEFT JOIN rota.trigger t ON t.id = c.trigger_id
    RETURNING 1
), fewer AS (
    DELETE FROM rota.trigger t WHERE t.id = ANY ($1::integer[])
), gone AS (
    DELETE FROM rota.job j WHERE j.id = ANY ($2::integer[])
)
SELECT count(*) FROM over
