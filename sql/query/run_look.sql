-- Where a run is and what its worker says of it, for who waits for it. All NULL: there is no such run. A claimed
-- one is found by the fence that its claim has noted; all receipts are only read in the moment before that.
-- $1 run: its id
-- on: client
WITH extra AS MATERIALIZED (
    SELECT x.fence, x.fraction, x.message, x.logs, x.logs_dropped FROM rota.run_extra x WHERE x.run_id = $1::bigint
), waiting AS MATERIALIZED (
    SELECT p.attempt FROM rota.pending p WHERE p.id = $1::bigint
    UNION ALL
    SELECT 1 WHERE rota.bundle_of($1::bigint) IS NOT NULL
), over AS MATERIALIZED (
    SELECT h.id, h.task, h.trigger, h.status, h.outcome, h.node, h.attempt, h.scheduled_at, h.started_at, h.ended_at,
           h.duration_ms, h.task_details, h.logs
      FROM rota.task_history h WHERE h.id = $1::bigint ORDER BY h.ended_at DESC LIMIT 1
), noted AS MATERIALIZED (
    SELECT o.attempt, r.incarnation
      FROM extra x JOIN rota.receipt r ON r.fence = x.fence CROSS JOIN LATERAL rota.receipt_runs(r) o
     WHERE o.id = $1::bigint
), started AS MATERIALIZED (
    SELECT n.attempt, n.incarnation FROM noted n
    UNION ALL
    SELECT o.attempt, r.incarnation
      FROM rota.receipt r CROSS JOIN LATERAL rota.receipt_runs(r) o
     WHERE NOT EXISTS (SELECT FROM waiting) AND NOT EXISTS (SELECT FROM over) AND NOT EXISTS (SELECT FROM noted)
       AND r.ids @> ARRAY[$1::bigint] AND o.id = $1::bigint
)
SELECT CASE WHEN w.attempt IS NOT NULL THEN 'pending' WHEN s.attempt IS NOT NULL THEN 'started' END, x.fraction::double precision,
       x.message, coalesce(h.logs::text, x.logs::text), coalesce((h.logs -> 0 ->> 'dropped')::bigint, x.logs_dropped, 0),
       h.status, h.outcome, rota.json_part(h.task_details, 'message') #>> '{}',
       coalesce(rota.json_part(h.task_details, 'output'),
                rota.json_part(rota.json_part(h.task_details, 'original-info'), 'output')) #>> '{}', h.task_details::text,
       CASE WHEN h.id IS NOT NULL
            THEN json_build_object('id', h.id, 'task', h.task, 'trigger', h.trigger, 'status', h.status, 'outcome', h.outcome,
                                   'node', h.node, 'attempt', h.attempt, 'scheduled_at', h.scheduled_at,
                                   'started_at', h.started_at, 'ended_at', h.ended_at, 'duration', h.duration_ms,
                                   'task_details', h.task_details, 'logs', h.logs)::text END,
       i.node
  FROM (SELECT) one LEFT JOIN extra x ON true LEFT JOIN waiting w ON true LEFT JOIN started s ON true LEFT JOIN over h ON true
       LEFT JOIN rota.incarnation i ON i.id = s.incarnation
 LIMIT 1
