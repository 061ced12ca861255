-- What can be said of a trigger by itself: each row has one reason, the first columns are the same in all. No row:
-- there is no such trigger. NULL as handler: it does not wait for a node.
-- $1 trigger: its name
-- on: client
WITH fact AS MATERIALIZED (
    SELECT json_build_object('kind', 'trigger', 'trigger', s.trigger, 'state', s.state, 'job', s.job, 'paused', s.paused,
                             'schedule', s.schedule, 'timezone', s.timezone, 'next_at', s.next_at,
                             'previous_at', s.previous_at, 'fired', s.fired, 'missed', s.missed, 'misfired', s.misfired) AS document,
           format('trigger "%s" of job "%s": %s', s.trigger, s.job, s.state) AS headline,
           s.trigger, s.job, s.handler, s.state, s.paused, s.next_at, s.previous_at, s.error, s.error_at, s.fired, s.missed,
           s.misfired, t.id, t.job_id, d.lane,
           s.state = 'waiting' AND NOT s.paused AND s.next_at <= clock_timestamp() AS is_due
      FROM rota.trigger_state s JOIN rota.trigger t ON t.name = s.trigger JOIN rota.trigger_due d ON d.trigger_id = t.id
     WHERE s.trigger = $1::text
), reason AS (
    SELECT 1 AS place, 0::bigint AS nth, json_build_object('reason', 'error', 'error', f.error, 'since', f.error_at) AS facts,
           format('it is in error since %s: %s (`rota reset %s` when that is set right)',
                  rota.instant_text(f.error_at), f.error, f.trigger) AS said
      FROM fact f WHERE f.state = 'error'
    UNION ALL
    SELECT 1, 0, json_build_object('reason', 'complete', 'previous_at', f.previous_at),
           'it has no further occurrence' || coalesce('; its last one was ' || rota.instant_text(f.previous_at), '')
      FROM fact f WHERE f.state = 'complete'
    UNION ALL
    SELECT 2, 0, json_build_object('reason', 'future', 'due', f.next_at),
           format('it fires at %s, in %s', rota.instant_text(f.next_at), rota.span_text(f.next_at - clock_timestamp()))
      FROM fact f WHERE f.state = 'waiting' AND NOT f.paused AND f.next_at > clock_timestamp()
    UNION ALL
    SELECT 2, 0, json_build_object('reason', 'due', 'due', f.next_at),
           format('it is due since %s (%s)', rota.instant_text(f.next_at), rota.span_text(clock_timestamp() - f.next_at))
      FROM fact f WHERE f.state IN ('waiting', 'blocked') AND f.next_at <= clock_timestamp()
    UNION ALL
    SELECT 3, 0, json_build_object('reason', 'counts', 'fired', f.fired, 'missed', f.missed, 'misfired', f.misfired),
           format('so far it fired %s %s%s; %s', f.fired, CASE f.fired WHEN 1 THEN 'time' ELSE 'times' END,
                  CASE WHEN f.misfired > 0 THEN ', ' || f.misfired || ' of them late, by its misfire policy' ELSE '' END,
                  CASE f.missed WHEN 1 THEN '1 occurrence was passed over' ELSE f.missed || ' occurrences were passed over' END)
      FROM fact f
    UNION ALL
    SELECT 4, r.id, json_build_object('reason', 'run', 'run', r.id, 'state', r.state, 'node', r.node),
           format('run %s of it %s: `rota explain %s`', r.id,
                  CASE r.state WHEN 'started' THEN 'runs on node ' || r.node ELSE 'waits' END, r.id)
      FROM fact f CROSS JOIN LATERAL (SELECT r.id, r.state, r.node FROM rota.run r
                                       WHERE r.trigger_id = f.id AND r.job_id = f.job_id ORDER BY r.id LIMIT 5) r
)
SELECT f.document::text, f.headline, f.job, CASE WHEN f.state IN ('waiting', 'blocked') THEN f.handler END,
       CASE WHEN f.state IN ('waiting', 'blocked') THEN f.lane END, f.next_at, f.is_due, r.facts::text, r.said, f.id, clock_timestamp()
  FROM fact f LEFT JOIN reason r ON true
 ORDER BY r.place, r.nth
