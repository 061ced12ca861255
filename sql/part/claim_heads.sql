-- The heads of all routes in one order, for the three statements that claim: `head` says how much of what there
-- is room for in each pool falls to each kind (t trigger, p pending, b bundle) of each route: `wanted`, of which
-- `sure` find a free slot, the others are to be at hand when the next one is free.
-- Of bundles as many are read as there would be if all were the smallest, a tenth: what is beyond them must not seem
-- to be next. `asked` is given by the statements: routes as their parameters say, and from where on to look: `since`
-- for triggers, `rows_since` for rows of pending, `bundles_since`.
contender AS MATERIALIZED (
    -- who has anything due at all, and its share: what each brings if all bring alike, and some more
    SELECT k.*, count(*) OVER (PARTITION BY k.pool) AS rivals, k.room * 2 / count(*) OVER (PARTITION BY k.pool) + 8 AS share
      FROM (SELECT 't' AS kind, r.* FROM asked r
             CROSS JOIN LATERAL (SELECT FROM rota.trigger_due t
                                  WHERE t.route = r.route AND t.state = 'W' AND NOT t.paused AND t.next_at BETWEEN r.since AND now()
                                  ORDER BY t.next_at LIMIT 1) one
            UNION ALL
            SELECT 'p', r.* FROM asked r
             CROSS JOIN LATERAL (SELECT FROM rota.pending p WHERE p.route = r.route AND p.due BETWEEN r.rows_since AND now()
                                  ORDER BY p.due LIMIT 1) one
            UNION ALL
            SELECT 'b', r.* FROM asked r
             CROSS JOIN LATERAL (SELECT FROM rota.bundle b WHERE b.route = r.route AND b.due BETWEEN r.bundles_since AND now()
                                  ORDER BY b.due LIMIT 1) one) k
), near AS (
    -- rank: the due time, a minute earlier for each step of priority (where several share a pool)
    SELECT c.pool, c.room, d.at - c.priority * interval '1 minute' AS rank, d.weight
      FROM contender c CROSS JOIN LATERAL (
           (SELECT t.next_at AS at, 1 AS weight FROM rota.trigger_due t
             WHERE c.kind = 't' AND t.route = c.route AND t.state = 'W' AND NOT t.paused AND t.next_at BETWEEN c.since AND now()
             ORDER BY t.next_at LIMIT c.share)
           UNION ALL
           (SELECT p.due, 1 FROM rota.pending p
             WHERE c.kind = 'p' AND p.route = c.route AND p.due BETWEEN c.rows_since AND now() ORDER BY p.due LIMIT c.share)
           UNION ALL
           (SELECT b.due, b.size - b.taken FROM rota.bundle b
             WHERE c.kind = 'b' AND b.route = c.route AND b.due BETWEEN c.bundles_since AND now()
             ORDER BY b.due LIMIT c.share * 10 / rota.bundle_size() + 8)) d
     WHERE c.rivals > 1 AND c.share < c.room
), bound AS MATERIALIZED (
    -- as many as there is room for are ranked no later than the last of these: no route need be read beyond
    SELECT c.*, least(now(), last.rank + c.priority * interval '1 minute') AS until
      FROM contender c LEFT JOIN (
           SELECT placed.pool, min(placed.rank) AS rank
             FROM (SELECT n.pool, n.room, n.rank, sum(n.weight) OVER (PARTITION BY n.pool ORDER BY n.rank) AS filled
                     FROM near n) placed
            WHERE placed.filled >= placed.room GROUP BY placed.pool) last ON last.pool = c.pool
     WHERE c.rivals > 1
), head AS MATERIALIZED (
    SELECT c.kind, c.route, c.since, c.rows_since, c.bundles_since, c.room AS wanted, c.slots AS sure FROM contender c WHERE c.rivals = 1
    UNION ALL
    SELECT w.kind, w.route, w.since, w.rows_since, w.bundles_since, sum(least(w.weight, w.room - w.ahead))::integer,
           sum(greatest(0, least(w.weight, w.slots - w.ahead)))::integer
      FROM (SELECT h.kind, h.route, h.since, h.rows_since, h.bundles_since, h.room, h.slots, h.weight,
                   sum(h.weight) OVER (PARTITION BY h.pool ORDER BY h.rank ROWS UNBOUNDED PRECEDING) - h.weight AS ahead
              FROM (SELECT c.kind, c.route, c.since, c.rows_since, c.bundles_since, c.pool, c.room, c.slots,
                           d.at - c.priority * interval '1 minute' AS rank, d.weight
                      FROM bound c CROSS JOIN LATERAL (
                           (SELECT t.next_at AS at, 1 AS weight FROM rota.trigger_due t
                             WHERE c.kind = 't' AND t.route = c.route AND t.state = 'W' AND NOT t.paused AND t.next_at BETWEEN c.since AND c.until
                             ORDER BY t.next_at LIMIT c.room)
                           UNION ALL
                           (SELECT p.due, 1 FROM rota.pending p
                             WHERE c.kind = 'p' AND p.route = c.route AND p.due BETWEEN c.rows_since AND c.until ORDER BY p.due LIMIT c.room)
                           UNION ALL
                           (SELECT b.due, b.size - b.taken FROM rota.bundle b
                             WHERE c.kind = 'b' AND b.route = c.route AND b.due BETWEEN c.bundles_since AND c.until
                             ORDER BY b.due LIMIT c.room * 10 / rota.bundle_size() + 8)) d) h) w
     WHERE w.ahead < w.room
     GROUP BY w.kind, w.route, w.since, w.rows_since, w.bundles_since
)
