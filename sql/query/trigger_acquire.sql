-- Locks due triggers, as many as there is room for, to be advanced by trigger_fire in the same
-- transaction. Only asks how many of the heads are triggers; runs that wait take their own share, and
-- so do lanes: either what has none is taken or what has one (the latter more than fit, as many of them
-- may find their lanes full).
-- $1 routes: those with room; negative ones for lanes
-- $2 priorities: of each
-- $3 pools: the pool that serves each
-- $4 rooms: free slots of that pool
-- $5 laned: whether triggers of lanes are wanted, or those without
-- on: work
WITH route AS MATERIALIZED (
    -- share: what a route brings if all bring alike, and some more
    SELECT r.*, r.room * 2 / count(*) OVER (PARTITION BY r.pool) + 8 AS share
      FROM unnest($1::integer[], $2::smallint[], $3::integer[], $4::integer[]) AS r(route, priority, pool, room)
), near AS (
    -- rank: the due time, a minute earlier for each step of priority
    SELECT r.pool, r.room, t.next_at - r.priority * interval '1 minute' AS rank
      FROM route r CROSS JOIN LATERAL (
           SELECT t.next_at FROM rota.trigger_due t
            WHERE t.route = r.route AND t.state = 'W' AND NOT t.paused AND t.next_at <= now()
            ORDER BY t.next_at LIMIT r.share) t
     WHERE r.share < r.room
    UNION ALL
    SELECT r.pool, r.room, p.due - r.priority * interval '1 minute'
      FROM route r CROSS JOIN LATERAL (
           SELECT p.due FROM rota.pending p
            WHERE p.route = r.route AND p.due <= now()
            ORDER BY p.due LIMIT r.share) p
     WHERE r.share < r.room
), bound AS MATERIALIZED (
    -- as many as there is room for are ranked no later than the last of these: no route need be read beyond
    SELECT r.*, least(now(), last.rank + r.priority * interval '1 minute') AS until
      FROM route r LEFT JOIN (
           SELECT placed.pool, placed.rank
             FROM (SELECT n.pool, n.room, n.rank, row_number() OVER (PARTITION BY n.pool ORDER BY n.rank) AS place
                     FROM near n) placed
            WHERE placed.place = placed.room) last ON last.pool = r.pool
), head AS MATERIALIZED (
    -- the heads of all routes in one order
    SELECT ranked.kind, ranked.route
      FROM (SELECT h.kind, h.route, h.room, row_number() OVER (PARTITION BY h.pool ORDER BY h.rank) AS place
              FROM (SELECT 't' AS kind, r.route, r.pool, r.room, t.next_at - r.priority * interval '1 minute' AS rank
                      FROM bound r CROSS JOIN LATERAL (
                           SELECT t.next_at FROM rota.trigger_due t
                            WHERE t.route = r.route AND t.state = 'W' AND NOT t.paused AND t.next_at <= r.until
                            ORDER BY t.next_at LIMIT r.room) t
                    UNION ALL
                    SELECT 'p', r.route, r.pool, r.room, p.due - r.priority * interval '1 minute'
                      FROM bound r CROSS JOIN LATERAL (
                           SELECT p.due FROM rota.pending p
                            WHERE p.route = r.route AND p.due <= r.until
                            ORDER BY p.due LIMIT r.room) p) h) ranked
     WHERE ranked.place <= ranked.room
), quota AS MATERIALIZED (
    SELECT h.route, count(*) AS wanted FROM head h
     WHERE h.kind = 't' AND (h.route < 0) = $5::boolean GROUP BY h.route
)
SELECT d.trigger_id, d.route, d.revision, d.next_at, d.previous_at, now(), (SELECT f.definition_revision FROM rota.fleet f),
       d.pass_from, d.pass_until, d.lane,
       CASE WHEN d.lane IS NOT NULL
            THEN (SELECT coalesce(j.lane_limit, 1) FROM rota.trigger t JOIN rota.job j ON j.id = t.job_id
                   WHERE t.id = d.trigger_id) END
  FROM quota q CROSS JOIN LATERAL (
       SELECT t.trigger_id, t.route, t.revision, t.next_at, t.previous_at, t.pass_from, t.pass_until, t.lane
         FROM rota.trigger_due t
        WHERE t.route = q.route AND t.state = 'W' AND NOT t.paused AND t.next_at <= now()
        ORDER BY t.next_at LIMIT CASE WHEN $5::boolean THEN greatest(q.wanted, 100) ELSE q.wanted END
          FOR UPDATE SKIP LOCKED) d
