-- Renews the lease and brings back all a node must know, in one statement.
-- $1 incarnation: its id
-- $2 lease_ms: how long it may act without renewing
-- $3 lock_class: first half of the advisory locks
-- $4 stand: whether to stand for leader (not while it is one: session locks are re-entrant); one that does not
--   run leaves it to those that do
-- $5 routes: those it can serve now
-- $6 since: from where on to look for their due triggers, NULL for all
-- $7 rows_since: the same for rows of pending
-- $8 bundles_since: and for bundles
-- on: session
WITH mine AS (
    UPDATE rota.incarnation i
       SET renewed_at = clock_timestamp(), lease_until = clock_timestamp() + $2::bigint * interval '1 ms'
     WHERE i.id = $1::integer AND i.evicted_at IS NULL
    RETURNING i.id, i.node, i.state
), suspect AS MATERIALIZED (
    SELECT i.id, i.renewed_at, i.node
      FROM rota.incarnation i
     WHERE i.id <> $1::integer
       AND NOT EXISTS (SELECT FROM pg_locks l
                        WHERE l.locktype = 'advisory' AND l.objsubid = 2 AND l.granted
                          AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
                          AND l.classid = ($3::integer::bigint & 4294967295)::oid AND l.objid = i.id::oid)
)
SELECT EXISTS (SELECT FROM mine),
       clock_timestamp(),
       CASE WHEN $4::boolean AND EXISTS (SELECT FROM mine m WHERE m.state = 'running' OR NOT EXISTS (
                                             SELECT FROM rota.incarnation i WHERE i.id <> $1::integer AND i.state = 'running'))
            THEN pg_try_advisory_lock($3::integer, 0) ELSE false END,
       (SELECT f.definition_revision FROM rota.fleet f),
       (SELECT coalesce(max(r.id), 0) FROM rota.route r),
       ARRAY(SELECT r.fence FROM rota.receipt r WHERE r.incarnation = $1::integer),
       ARRAY(SELECT s.id::bigint FROM suspect s ORDER BY s.id),
       ARRAY(SELECT (extract(epoch FROM s.renewed_at) * 1000000)::bigint FROM suspect s ORDER BY s.id),
       ARRAY(SELECT s.node FROM suspect s ORDER BY s.id),
       -- whether others hold receipts: both ends of an index, where a search would read all of our own
       coalesce((SELECT min(r.incarnation) <> $1::integer OR max(r.incarnation) <> $1::integer FROM rota.receipt r), false),
       (SELECT min(d.next_at) FROM unnest($5::integer[], $6::timestamptz[]) AS w(route, since) CROSS JOIN LATERAL (
            SELECT t.next_at FROM rota.trigger_due t
             WHERE t.route = w.route AND t.state = 'W' AND NOT t.paused
               AND t.next_at >= coalesce(w.since, '-infinity') ORDER BY t.next_at LIMIT 1) d),
       (SELECT min(d.due) FROM unnest($5::integer[], $7::timestamptz[], $8::timestamptz[]) AS w(route, rows_since, bundles_since) CROSS JOIN LATERAL (
            (SELECT p.due FROM rota.pending p
              WHERE p.route = w.route AND p.due >= coalesce(w.rows_since, '-infinity') ORDER BY p.due LIMIT 1)
            UNION ALL
            (SELECT b.due FROM rota.bundle b
              WHERE b.route = w.route AND b.due >= coalesce(w.bundles_since, '-infinity') ORDER BY b.due LIMIT 1)) d),
       (SELECT min(d.next_at) FROM unnest($5::integer[]) AS w(route) CROSS JOIN LATERAL (
            SELECT t.next_at FROM rota.trigger_due t
             WHERE t.route = -w.route AND t.state = 'W' AND NOT t.paused ORDER BY t.next_at LIMIT 1) d),
       (SELECT min(d.due) FROM unnest($5::integer[]) AS w(route) CROSS JOIN LATERAL (
            SELECT p.due FROM rota.pending p WHERE p.route = -w.route ORDER BY p.due LIMIT 1) d),
       -- whether there are lanes to look after, or held runs
       (SELECT min(s.lane) FROM rota.lane_slot s) IS NOT NULL
       OR (SELECT min(p.lane) FROM rota.pending p WHERE p.held = 'L') IS NOT NULL
       OR (SELECT min(d.lane) FROM rota.trigger_due d WHERE d.state = 'B') IS NOT NULL
       OR (SELECT min(p.job_id) FROM rota.pending p WHERE p.held = 'P') IS NOT NULL
       OR (SELECT min(b.job_id) FROM rota.bundle b WHERE b.held_due IS NOT NULL) IS NOT NULL,
       -- what it is asked to be
       (SELECT n.wish FROM mine m JOIN rota.node n ON n.name = m.node),
       (SELECT n.wish_number FROM mine m JOIN rota.node n ON n.name = m.node),
       -- the oldest binary that may work on this schema
       (SELECT coalesce(max(v.needs), 0) FROM rota.schema_version v),
       -- whether it is one of the two that have run for longest: they look after the leader
       $1::integer = ANY (ARRAY(SELECT i.id FROM rota.incarnation i WHERE i.state = 'running' ORDER BY i.id LIMIT 2)),
       -- the queue: when a rate is to be looked at, and whether there are rates, runs that wait for others, extras
       (SELECT min(e.at) FROM rota.rate_due e),
       (SELECT min(b.bucket) FROM rota.rate_bucket b) IS NOT NULL
       OR (SELECT min(p.bucket) FROM rota.pending p WHERE p.held = 'R') IS NOT NULL,
       (SELECT min(a.needs) FROM rota.run_after a) IS NOT NULL
       OR (SELECT min(p.id) FROM rota.pending p WHERE p.held = 'A') IS NOT NULL,
       (SELECT min(x.run_id) FROM rota.run_extra x) IS NOT NULL
       OR (SELECT min(u.run_id) FROM rota.unique_key u) IS NOT NULL,
       -- what is to be cancelled: cancel_list
       ARRAY(SELECT c.run_id FROM (SELECT r.run_id FROM rota.cancel_request r ORDER BY r.requested_at, r.run_id LIMIT 1000) c
              ORDER BY c.run_id),
       ARRAY(SELECT c.reason FROM (SELECT r.run_id, r.reason FROM rota.cancel_request r ORDER BY r.requested_at, r.run_id LIMIT 1000) c
              ORDER BY c.run_id),
       (SELECT b.busy_until > clock_timestamp() - interval '5 s' FROM rota.busy b)
