-- What can be said of a run by itself: each row has one reason, the first columns are the same in all. No row:
-- there is no such run. NULL as handler: it does not wait for a node.
-- $1 run: its id
-- on: client
WITH waiting AS MATERIALIZED (
    SELECT p.id, 'pending' AS state, p.job_id, p.trigger_id, coalesce(p.held_due, p.due) AS due, p.scheduled_at,
           p.attempt, p.recovering, p.held::text AS held, p.lane, p.earlier, o.handler
      FROM rota.pending p LEFT JOIN rota.route o ON o.id = abs(p.route) WHERE p.id = $1::bigint
), started AS MATERIALIZED (
    SELECT o.id, 'started' AS state, o.job_id, o.trigger_id, o.due, o.scheduled_at, o.attempt, o.recovering, r.fence,
           r.claimed_at, i.node, i.lease_until, i.evicted_at, o.earlier
      FROM rota.receipt r JOIN rota.incarnation i ON i.id = r.incarnation CROSS JOIN LATERAL rota.receipt_runs(r) o
     WHERE r.ids @> ARRAY[$1::bigint] AND o.id = $1::bigint
     ORDER BY r.fence DESC LIMIT 1
), over AS MATERIALIZED (
    SELECT h.id, h.task, h.trigger, h.status, h.outcome, h.node, h.attempt, h.scheduled_at, h.started_at, h.ended_at,
           h.task_details ->> 'message' AS message
      FROM rota.task_history h WHERE h.id = $1::bigint ORDER BY h.ended_at DESC LIMIT 1
), run AS (
    SELECT w.id, w.state, w.job_id, w.trigger_id, w.due, w.scheduled_at, w.attempt, w.recovering, w.held, w.lane, w.earlier,
           w.handler, NULL::text AS node, NULL::timestamptz AS claimed_at FROM waiting w
    UNION ALL
    SELECT s.id, s.state, s.job_id, s.trigger_id, s.due, s.scheduled_at, s.attempt, s.recovering, NULL, NULL, s.earlier,
           NULL, s.node, s.claimed_at FROM started s
), fact AS (
    SELECT json_build_object('kind', 'run', 'run', r.id, 'state', r.state, 'job', j.name, 'trigger', t.name, 'due', r.due,
                             'scheduled_at', r.scheduled_at, 'attempt', r.attempt, 'recovering', r.recovering,
                             'node', r.node, 'started_at', r.claimed_at) AS document,
           format('run %s of %s%s: %s', r.id, coalesce('job "' || j.name || '"', 'a job that is deleted'),
                  ', by trigger "' || t.name || '"', r.state) AS headline,
           r.handler, r.lane, r.due, r.held IS NULL AND r.due <= clock_timestamp() AS is_due, j.name AS job,
           j.id IS NULL AND r.state = 'pending' AS job_gone, r.attempt, r.earlier, j.max_attempts, r.state
      FROM run r LEFT JOIN rota.job j ON j.id = r.job_id LEFT JOIN rota.trigger t ON t.id = r.trigger_id
    UNION ALL
    SELECT json_build_object('kind', 'run', 'run', o.id, 'state', 'over', 'job', o.task, 'trigger', o.trigger, 'due', NULL,
                             'scheduled_at', o.scheduled_at, 'attempt', o.attempt, 'recovering', NULL,
                             'node', o.node, 'started_at', o.started_at),
           format('run %s of job "%s"%s: over', o.id, o.task, ', by trigger "' || o.trigger || '"'),
           NULL, NULL, NULL, false, o.task, false, o.attempt, NULL, NULL, 'over'
      FROM over o WHERE NOT EXISTS (SELECT FROM run)
), reason AS (
    SELECT 1 AS place, json_build_object('reason', 'over', 'status', o.status, 'outcome', o.outcome, 'node', o.node,
                                         'ended_at', o.ended_at, 'message', o.message) AS facts,
           format('it ended at %s%s: %s%s', rota.instant_text(o.ended_at), ' on node ' || o.node, o.outcome,
                  ': ' || nullif(o.message, '')) AS said
      FROM over o WHERE NOT EXISTS (SELECT FROM run)
    UNION ALL
    SELECT 1, json_build_object('reason', 'running', 'node', s.node, 'since', s.claimed_at, 'fence', s.fence,
                                'lease_until', s.lease_until),
           format('it runs on node %s since %s (fence %s); %s', s.node, rota.instant_text(s.claimed_at), s.fence,
                  CASE WHEN s.evicted_at IS NOT NULL THEN 'the node is evicted: another one takes it over when its lease is over, in '
                                                         || rota.span_text(s.lease_until - clock_timestamp())
                       WHEN s.lease_until > clock_timestamp() THEN 'the node''s lease is good for '
                                                                   || rota.span_text(s.lease_until - clock_timestamp())
                       ELSE 'the node''s lease is over since ' || rota.span_text(clock_timestamp() - s.lease_until)
                            || ': another node takes it over' END)
      FROM started s
    UNION ALL
    SELECT 2, json_build_object('reason', 'job_gone'), 'its job is deleted: it ends as cancelled when a node takes it'
      FROM fact f WHERE f.job_gone
    UNION ALL
    SELECT 3, json_build_object('reason', 'future', 'due', f.due), format('it is due at %s, in %s', rota.instant_text(f.due),
                                                                          rota.span_text(f.due - clock_timestamp()))
      FROM fact f WHERE f.state = 'pending' AND f.due > clock_timestamp()
    UNION ALL
    SELECT 4, json_build_object('reason', 'attempts', 'attempt', f.attempt, 'max_attempts', f.max_attempts,
                                'last', f.earlier -> -1),
           format('this is attempt %s%s; the last one ended as %s%s%s', f.attempt, ' of ' || f.max_attempts,
                  f.earlier -> -1 ->> 'outcome', ' on node ' || (f.earlier -> -1 ->> 'node'),
                  ': ' || (f.earlier -> -1 ->> 'message'))
      FROM fact f WHERE jsonb_array_length(f.earlier) > 0
)
SELECT f.document::text, f.headline, f.job, f.handler, f.lane, f.due, f.is_due, r.facts::text, r.said
  FROM fact f LEFT JOIN reason r ON true
 ORDER BY r.place
