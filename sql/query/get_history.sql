-- Runs that have started, newest first, as the document of GET /api/task.
-- $1 name: task, NULL for all
-- $2 limit: rows at most
-- $3 offset: rows to pass over
-- $4 status: started, success, failed or unknown; NULL for all
-- $5 with_data: whether each has the data of its own, too
-- on: client
SELECT json_build_object('total', rota.task_total($1::text, $4::text), 'limit', $2::bigint, 'offset', $3::bigint, 'data',
                         coalesce(json_agg(CASE WHEN $5::boolean THEN to_json(d) ELSE to_json(r) END), '[]'))::text
  FROM (SELECT t.id, t.task, t.db_id, t.started_at, t.ended_at, t.duration, t.task_details, t.status, t.logs, t.outcome,
               t.node, t.attempt, t.scheduled_at, t.trigger, t.missed, t.misfired
          FROM rota.task_page(of_task => $1::text, with_status => $4::text, at_most => $2::bigint, pass => $3::bigint) t) r
       LEFT JOIN LATERAL (SELECT r.*, (SELECT h.data FROM rota.task_history h WHERE h.id = r.id AND h.ended_at = r.ended_at) AS data
                           WHERE $5::boolean) d ON true
