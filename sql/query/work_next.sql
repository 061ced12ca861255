-- When the next trigger and the next run of these routes are due, the next of either that belongs to a
-- lane, what time it is, the newest route, when a rate is to be looked at, and whether somebody said of late
-- that nodes look for work by themselves.
-- $1 routes: those with room
-- $2 since: from where on to look for their due triggers, NULL for all
-- $3 rows_since: the same for rows of pending
-- $4 bundles_since: and for bundles
-- on: work
SELECT (SELECT min(d.next_at) FROM unnest($1::integer[], $2::timestamptz[]) AS w(route, since) CROSS JOIN LATERAL (
            SELECT t.next_at FROM rota.trigger_due t
             WHERE t.route = w.route AND t.state = 'W' AND NOT t.paused
               AND t.next_at >= coalesce(w.since, '-infinity') ORDER BY t.next_at LIMIT 1) d),
       (SELECT min(d.due) FROM unnest($1::integer[], $3::timestamptz[], $4::timestamptz[]) AS w(route, rows_since, bundles_since) CROSS JOIN LATERAL (
            (SELECT p.due FROM rota.pending p
              WHERE p.route = w.route AND p.due >= coalesce(w.rows_since, '-infinity') ORDER BY p.due LIMIT 1)
            UNION ALL
            (SELECT b.due FROM rota.bundle b
              WHERE b.route = w.route AND b.due >= coalesce(w.bundles_since, '-infinity') ORDER BY b.due LIMIT 1)) d),
       (SELECT min(d.next_at) FROM unnest($1::integer[]) AS w(route) CROSS JOIN LATERAL (
            SELECT t.next_at FROM rota.trigger_due t
             WHERE t.route = -w.route AND t.state = 'W' AND NOT t.paused ORDER BY t.next_at LIMIT 1) d),
       (SELECT min(d.due) FROM unnest($1::integer[]) AS w(route) CROSS JOIN LATERAL (
            SELECT p.due FROM rota.pending p WHERE p.route = -w.route ORDER BY p.due LIMIT 1) d),
       clock_timestamp(),
       (SELECT coalesce(max(r.id), 0) FROM rota.route r),
       (SELECT min(e.at) FROM rota.rate_due e),
       (SELECT b.busy_until > clock_timestamp() - interval '5 s' FROM rota.busy b)
