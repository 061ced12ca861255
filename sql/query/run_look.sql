-- Where a run is and what its worker says of it, for who waits for it. All NULL: there is no such run.
-- $1 run: its id
-- on: client
SELECT w.place, x.fraction::double precision, x.message, coalesce(h.logs::text, x.logs::text),
       coalesce((h.logs -> 0 ->> 'dropped')::bigint, x.logs_dropped, 0), h.status, h.outcome, h.task_details ->> 'message',
       coalesce(h.task_details ->> 'output', h.task_details -> 'original-info' ->> 'output'),
       h.task_details::text,
       (SELECT json_build_object('id', h.id, 'task', h.task, 'trigger', h.trigger, 'status', h.status, 'outcome', h.outcome,
                                 'node', h.node, 'attempt', h.attempt, 'scheduled_at', h.scheduled_at,
                                 'started_at', h.started_at, 'ended_at', h.ended_at, 'duration', h.duration_ms,
                                 'task_details', h.task_details, 'logs', h.logs)::text WHERE h.id IS NOT NULL),
       w.node, w.attempt
  FROM (SELECT CASE WHEN p.id IS NOT NULL THEN 'pending' WHEN s.id IS NOT NULL THEN 'started' END AS place, s.node,
               coalesce(s.attempt, p.attempt) AS attempt
          FROM (SELECT) one LEFT JOIN rota.pending p ON p.id = $1::bigint
               LEFT JOIN LATERAL (
                    SELECT o.id, i.node, o.attempt
                      FROM rota.receipt r JOIN rota.incarnation i ON i.id = r.incarnation CROSS JOIN LATERAL rota.receipt_runs(r) o
                     WHERE r.ids @> ARRAY[$1::bigint] AND o.id = $1::bigint
                     ORDER BY r.fence DESC LIMIT 1) s ON p.id IS NULL) w
       LEFT JOIN rota.run_extra x ON x.run_id = $1::bigint
       LEFT JOIN LATERAL (
            SELECT k.id, k.task, k.trigger, k.status, k.outcome, k.node, k.attempt, k.scheduled_at, k.started_at, k.ended_at,
                   k.duration_ms, k.task_details, k.logs
              FROM rota.task_history k WHERE k.id = $1::bigint ORDER BY k.ended_at DESC LIMIT 1) h ON w.place IS NULL
