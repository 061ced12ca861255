-- What keeps a run or trigger out of its lane. No row: it has room and nobody waits for it.
-- $1 lane: its key
-- $2 due: when it was due: who waits since earlier is before it
-- on: client
WITH holder AS MATERIALIZED (
    SELECT s.run_id, i.node, s.taken_at
      FROM rota.lane_slot s LEFT JOIN rota.receipt r ON r.fence = s.fence LEFT JOIN rota.incarnation i ON i.id = r.incarnation
     WHERE s.lane = $1::bigint
), ahead AS (
    SELECT (SELECT count(*) FROM rota.pending p WHERE p.lane = $1::bigint AND p.held = 'L' AND p.held_due < $2::timestamptz)
           + (SELECT count(*) FROM rota.trigger_due d
               WHERE d.lane = $1::bigint AND d.state = 'B' AND d.next_at < $2::timestamptz) AS number
)
SELECT json_build_object('reason', CASE WHEN l.running >= l."limit" THEN 'lane' ELSE 'lane_free' END, 'job', l.job,
                         'key', l.key, 'limit', l."limit", 'before', a.number,
                         'runs', (SELECT coalesce(json_agg(json_build_object('run', h.run_id, 'node', h.node, 'since', h.taken_at)
                                                           ORDER BY h.taken_at), '[]') FROM holder h))::text,
       CASE WHEN l.running >= l."limit"
            THEN format('its lane (job "%s"%s, limit %s) is full: %s; %s before it', l.job, ', key "' || l.key || '"', l."limit",
                        (SELECT string_agg(format('run %s on node %s since %s', h.run_id, coalesce(h.node, '?'),
                                                  rota.instant_text(h.taken_at)), ', ' ORDER BY h.taken_at) FROM holder h),
                        CASE a.number WHEN 0 THEN 'nobody waits' WHEN 1 THEN '1 waits' ELSE a.number || ' wait' END)
            ELSE format('its lane (job "%s"%s, limit %s) has room: %s of it run; it is woken within 5 s', l.job,
                        ', key "' || l.key || '"', l."limit", l.running) END
  FROM rota.lane_state l CROSS JOIN ahead a
 WHERE l.lane = $1::bigint
 LIMIT 1
