-- The heads of all routes in one order, for the three statements that claim: `head` has as many as there is
-- room for in each pool, with their kind (t trigger, p pending) and route.
-- $1 routes, $2 priorities, $3 pools, $4 rooms: as the statements say
route AS MATERIALIZED (
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
)
