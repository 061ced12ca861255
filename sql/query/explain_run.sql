-- What can be said of a run by itself: each row has one reason, the first columns are the same in all. No row:
-- there is no such run. NULL as handler: it does not wait for a node.
-- $1 run: its id
-- on: client
WITH waiting AS MATERIALIZED (
    SELECT p.id, 'pending' AS state, p.job_id, p.trigger_id, coalesce(p.held_due, p.due) AS due, p.scheduled_at,
           p.attempt, p.recovering, p.held::text AS held, p.lane, p.earlier, o.handler, p.bucket
      FROM rota.pending p LEFT JOIN rota.route o ON o.id = abs(p.route) WHERE p.id = $1::bigint
    UNION ALL
    SELECT $1::bigint, 'pending', b.job_id, NULL, coalesce(b.held_due, b.due), coalesce(b.held_due, b.due), 1::smallint, false,
           CASE WHEN b.held_due IS NOT NULL THEN 'P' END, NULL, NULL, o.handler, NULL
      FROM rota.bundle b LEFT JOIN rota.route o ON o.id = b.route WHERE b.id = rota.bundle_of($1::bigint)
), started AS MATERIALIZED (
    SELECT o.id, 'started' AS state, o.job_id, o.trigger_id, o.due, o.scheduled_at, o.attempt, o.recovering, r.fence,
           r.claimed_at, i.node, i.lease_until, i.evicted_at, o.earlier
      FROM rota.receipt r JOIN rota.incarnation i ON i.id = r.incarnation CROSS JOIN LATERAL rota.receipt_runs(r) o
     WHERE r.ids @> ARRAY[$1::bigint] AND o.id = $1::bigint
     ORDER BY r.fence DESC LIMIT 1
), over AS MATERIALIZED (
    SELECT h.id, h.task, h.trigger, h.status, h.outcome, h.node, h.attempt, h.scheduled_at, h.started_at, h.ended_at,
           rota.json_part(h.task_details, 'message') #>> '{}' AS message
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
    UNION ALL
    SELECT 5, json_build_object('reason', 'after', 'waits_for', n.number, 'runs', n.runs),
           format('it waits for %s: %s', CASE n.number WHEN 1 THEN 'another run' ELSE n.number || ' other runs' END, n.said)
      FROM waiting w CROSS JOIN LATERAL (
           SELECT count(*) AS number,
                  json_agg(json_build_object('run', a.needs, 'place', a.place, 'any_outcome', a.any_outcome) ORDER BY a.needs)
                      FILTER (WHERE a.turn <= 10) AS runs,
                  string_agg(format('run %s, %s', a.needs, CASE a.place WHEN 'pending' THEN 'which waits itself'
                                                                        WHEN 'claimed' THEN 'which runs'
                                                                        ELSE 'which is over: this one goes on within 5 s' END),
                             '; ' ORDER BY a.needs) FILTER (WHERE a.turn <= 10)
                      || CASE WHEN count(*) > 10 THEN ' …' ELSE '' END AS said
             FROM (SELECT k.needs, k.any_outcome, row_number() OVER (ORDER BY k.needs) AS turn,
                          rota.run_place(k.needs) AS place
                     FROM rota.run_after k WHERE k.run_id = w.id) a) n
     WHERE w.held = 'A' AND n.number > 0
    UNION ALL
    SELECT 6, json_build_object('reason', 'rate', 'limit', j.rate_limit, 'per_ms', j.rate_per_ms, 'burst', j.rate_burst,
                                'tokens', b.tokens, 'as_of', b.as_of, 'next_at', e.at, 'before', n.number),
           format('its rate (%s in %s%s) has no start for it yet: %s before it%s', j.rate_limit,
                  rota.span_text(j.rate_per_ms * interval '1 ms'), CASE WHEN j.rate_key IS NOT NULL THEN ', of its key' ELSE '' END,
                  CASE n.number WHEN 0 THEN 'nobody waits' WHEN 1 THEN '1 waits' ELSE n.number || ' wait' END,
                  '; the next is given in ' || rota.span_text(e.at - clock_timestamp()))
      FROM waiting w JOIN rota.job j ON j.id = w.job_id LEFT JOIN rota.rate_bucket b ON b.bucket = w.bucket
           LEFT JOIN LATERAL (SELECT greatest(min(d.at), clock_timestamp()) AS at FROM rota.rate_due d
                               WHERE d.bucket = w.bucket HAVING count(*) > 0) e ON true
           CROSS JOIN LATERAL (SELECT count(*) AS number FROM rota.pending p
                                WHERE p.bucket = w.bucket AND p.held = 'R' AND p.held_due < w.due) n
     WHERE w.held = 'R' AND j.rate_limit IS NOT NULL
    UNION ALL
    SELECT 7, json_build_object('reason', 'expires', 'expires_at', x.expires_at),
           CASE WHEN x.expires_at > clock_timestamp()
                THEN format('it is dropped if it does not start by %s, in %s', rota.instant_text(x.expires_at),
                            rota.span_text(x.expires_at - clock_timestamp()))
                ELSE format('it should have started by %s: it is dropped in a moment', rota.instant_text(x.expires_at)) END
      FROM waiting w JOIN rota.run_extra x ON x.run_id = w.id
     WHERE x.expires_at IS NOT NULL AND w.attempt = 1 AND NOT w.recovering
    UNION ALL
    SELECT 8, json_build_object('reason', 'cancel_requested', 'requested_at', c.requested_at, 'why', c.reason),
           format('its end is asked for since %s%s', rota.instant_text(c.requested_at),
                  CASE WHEN c.reason <> 'cancelled' THEN ': ' || c.reason ELSE '' END)
      FROM run r JOIN rota.cancel_request c ON c.run_id = r.id
    UNION ALL
    SELECT 9, json_build_object('reason', 'key', 'key', u.key, 'until', CASE WHEN u.until_started THEN 'started' ELSE 'finished' END,
                                'keep_until', u.keep_until),
           format('it has the key "%s" of its job until it %s%s', u.key, CASE WHEN u.until_started THEN 'starts' ELSE 'is over' END,
                  ', and not before ' || rota.instant_text(u.keep_until))
      FROM run r JOIN rota.unique_key u ON u.run_id = r.id
    UNION ALL
    SELECT 10, json_build_object('reason', 'progress', 'progress', x.fraction, 'message', x.message, 'noted_at', x.noted_at),
           format('its worker said at %s: %s', rota.instant_text(x.noted_at),
                  concat_ws(', ', round(x.fraction::numeric * 100) || ' %', x.message))
      FROM started s JOIN rota.run_extra x ON x.run_id = s.id
     WHERE x.fraction IS NOT NULL OR x.message IS NOT NULL
    UNION ALL
    SELECT 11 + l.place, json_build_object('reason', 'log', 'line', l.line),
           format('log, %s, %s: %s', l.line ->> 'at', l.line ->> 'level', l.line ->> 'message')
      FROM (SELECT n.line, n.place
              FROM (SELECT k.line, k.place FROM rota.run_extra x CROSS JOIN LATERAL jsonb_array_elements(x.logs) WITH ORDINALITY AS k(line, place)
                     WHERE x.run_id = $1::bigint
                    UNION ALL
                    SELECT k.line, k.place
                      FROM (SELECT h.logs FROM rota.task_history h WHERE h.id = $1::bigint ORDER BY h.ended_at DESC LIMIT 1) h
                           CROSS JOIN LATERAL jsonb_array_elements(h.logs::jsonb) WITH ORDINALITY AS k(line, place)
                     WHERE NOT EXISTS (SELECT FROM run) AND k.line ? 'message') n
             ORDER BY n.place DESC LIMIT 5) l
)
SELECT f.document::text, f.headline, f.job, f.handler, f.lane, f.due, f.is_due, r.facts::text, r.said
  FROM fact f LEFT JOIN reason r ON true
 ORDER BY r.place
