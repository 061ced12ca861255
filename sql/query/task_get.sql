-- One row of GET /api/task; none if there is no such run, or it has not started.
-- $1 run: its id
-- on: client
SELECT row_to_json(r)::text
  FROM (SELECT t.id, t.task, t.db_id, t.started_at, t.ended_at, t.duration, t.task_details, t.status, t.logs, t.outcome,
               t.node, t.attempt, t.scheduled_at, t.trigger, t.missed, t.misfired
          FROM rota.task t WHERE t.id = $1::bigint
         ORDER BY t.ended_at DESC NULLS LAST LIMIT 1) r
