-- What waits and should not: handlers that nobody serves, triggers in error, lanes that have room, runs that are late.
-- on: client
WITH served AS MATERIALIZED (
    SELECT DISTINCT w.handler FROM rota.incarnation i CROSS JOIN LATERAL unnest(i.handlers) AS w(handler)
     WHERE i.state = 'running' AND i.lease_until > clock_timestamp()
), handler AS MATERIALIZED ( -- of many only as many as fit a sentence are counted: a backlog is no reason to read it
    SELECT o.handler, bool_or(o.handler IN (SELECT s.handler FROM served s)) AS is_served,
           sum(p.runs) AS runs, sum(d.triggers) AS triggers, least(min(p.since), min(d.since)) AS since
      FROM rota.route o CROSS JOIN LATERAL unnest(ARRAY[o.id, -o.id]) AS q(route) CROSS JOIN LATERAL (
           SELECT coalesce(sum(w.runs), 0) AS runs, min(w.due) AS since
             FROM ((SELECT k.due, 1 AS runs FROM rota.pending k
                     WHERE k.route = q.route AND k.held IS NULL AND k.due <= clock_timestamp() ORDER BY k.due LIMIT 10000)
                   UNION ALL
                   (SELECT b.due, b.size - b.taken FROM rota.bundle b
                     WHERE b.route = q.route AND b.due <= clock_timestamp() ORDER BY b.due LIMIT 100)) w) p CROSS JOIN LATERAL (
           SELECT count(*) AS triggers, min(w.next_at) AS since
             FROM (SELECT g.next_at FROM rota.trigger_due g WHERE g.route = q.route AND g.state = 'W' AND NOT g.paused
                    ORDER BY g.next_at
                    LIMIT CASE WHEN o.handler IN (SELECT s.handler FROM served s) THEN 1 ELSE 10000 END) w) d
     GROUP BY o.handler HAVING sum(p.runs) + sum(d.triggers) > 0
), broken AS MATERIALIZED (
    SELECT t.name
      FROM rota.trigger_due d CROSS JOIN LATERAL (SELECT g.name FROM rota.trigger g WHERE g.id = d.trigger_id OFFSET 0) t
     WHERE d.state = 'E'
), lane AS MATERIALIZED (
    SELECT l.job, l.key, l.waiting_since
      FROM rota.lane_state l
     WHERE l.running < l."limit" AND l.parked + l.blocked > 0
       AND (EXISTS (SELECT FROM rota.pending p WHERE p.lane = l.lane AND p.held = 'L')
            OR EXISTS (SELECT FROM rota.trigger_due d WHERE d.lane = l.lane AND d.state = 'B' AND NOT d.paused))
       AND NOT EXISTS (SELECT FROM rota.pending p WHERE p.lane = l.lane AND p.held IS NULL AND p.due <= now())
       AND NOT EXISTS (SELECT FROM rota.trigger_due d
                        WHERE d.lane = l.lane AND d.state = 'W' AND d.next_at <= now() AND NOT d.paused)
)
SELECT CASE WHEN h.since < clock_timestamp() THEN 'bad' ELSE 'warn' END, 'unserved', 'handler ' || h.handler,
       format('no running node serves it; %s due runs and %s triggers wait, the first %s %s', h.runs, h.triggers,
              CASE WHEN h.since < clock_timestamp() THEN 'since' ELSE 'for' END, rota.instant_text(h.since)),
       'start a node whose pool serves it, or correct the handler in the manifest; running nodes serve '
       || coalesce((SELECT string_agg(s.handler, ', ' ORDER BY s.handler) FROM served s), 'nothing')
  FROM handler h WHERE NOT h.is_served
UNION ALL
SELECT 'warn', 'late', 'handler ' || h.handler,
       format('%s runs are due, the first since %s', h.runs, rota.span_text(clock_timestamp() - h.since)),
       'more slots, or more nodes that serve it'
  FROM handler h WHERE h.is_served AND h.runs > 0 AND h.since < clock_timestamp() - interval '1 minute'
UNION ALL
SELECT 'ok', 'handlers', 'fleet', 'each handler that something waits for is served', NULL
 WHERE NOT EXISTS (SELECT FROM handler h WHERE NOT h.is_served)
UNION ALL
SELECT CASE count(*) WHEN 0 THEN 'ok' ELSE 'bad' END, 'trigger_errors', 'fleet',
       CASE count(*) WHEN 0 THEN 'no trigger is in error'
                     ELSE format('%s triggers are in error: %s%s', count(*),
                                 array_to_string((array_agg(b.name ORDER BY b.name))[1:5], ', '),
                                 CASE WHEN count(*) > 5 THEN ' …' ELSE '' END) END,
       '`rota explain TRIGGER` says why, `rota reset --all` takes them out'
  FROM broken b
UNION ALL
SELECT CASE count(*) WHEN 0 THEN 'ok' ELSE 'bad' END, 'lanes', 'fleet',
       CASE count(*) WHEN 0 THEN 'no lane with room is waited for'
                     ELSE format('%s lanes have room and are waited for, the first (job %s%s) since %s', count(*), min(l.job),
                                 ', key ' || min(l.key), rota.instant_text(min(l.waiting_since))) END,
       'the leader wakes them within 5 s: see that a node runs'
  FROM lane l
