-- How many to take of each kind (t trigger, p pending) and route, for the three statements that claim: `quota`
-- shares the room of each pool among what is due in one order of all its routes.
-- `asked` is given by the statements: routes as their parameters say, `since`: from where on to look for triggers
busy AS MATERIALIZED (
    -- where anything is due at all: mostly few of many
    SELECT 't' AS kind, r.*
      FROM asked r CROSS JOIN LATERAL (
           SELECT 1 FROM rota.trigger_due t
            WHERE t.route = r.route AND t.state = 'W' AND NOT t.paused AND t.next_at BETWEEN r.since AND now()
            ORDER BY t.next_at LIMIT 1) t
    UNION ALL
    SELECT 'p', r.*
      FROM asked r CROSS JOIN LATERAL (
           SELECT 1 FROM rota.pending p
            WHERE p.route = r.route AND p.due <= now()
            ORDER BY p.due LIMIT 1) p
), rival AS MATERIALIZED (
    -- rivals: with one alone nothing need be read to share. share: what each brings if all bring alike, and some more
    SELECT b.*, count(*) OVER w AS rivals, b.room * 2 / count(*) OVER w + 8 AS share
      FROM busy b WINDOW w AS (PARTITION BY b.pool)
), near AS (
    -- rank: the due time, a minute earlier for each step of priority
    SELECT r.pool, r.room, t.next_at - r.priority * interval '1 minute' AS rank
      FROM rival r CROSS JOIN LATERAL (
           SELECT t.next_at FROM rota.trigger_due t
            WHERE t.route = r.route AND t.state = 'W' AND NOT t.paused AND t.next_at BETWEEN r.since AND now()
            ORDER BY t.next_at LIMIT r.share) t
     WHERE r.rivals > 1 AND r.share < r.room AND r.kind = 't'
    UNION ALL
    SELECT r.pool, r.room, p.due - r.priority * interval '1 minute'
      FROM rival r CROSS JOIN LATERAL (
           SELECT p.due FROM rota.pending p
            WHERE p.route = r.route AND p.due <= now()
            ORDER BY p.due LIMIT r.share) p
     WHERE r.rivals > 1 AND r.share < r.room AND r.kind = 'p'
), bound AS MATERIALIZED (
    -- as many as there is room for are ranked no later than the last of these: no route need be read beyond
    SELECT r.*, least(now(), last.rank + r.priority * interval '1 minute') AS until
      FROM rival r LEFT JOIN (
           SELECT placed.pool, placed.rank
             FROM (SELECT n.pool, n.room, n.rank, row_number() OVER (PARTITION BY n.pool ORDER BY n.rank) AS place
                     FROM near n) placed
            WHERE placed.place = placed.room) last ON last.pool = r.pool
     WHERE r.rivals > 1
), quota AS MATERIALIZED (
    -- the heads of all rivals in one order, as far as there is room
    SELECT ranked.kind, ranked.route, ranked.since, count(*) AS wanted
      FROM (SELECT h.kind, h.route, h.since, h.room, row_number() OVER (PARTITION BY h.pool ORDER BY h.rank) AS place
              FROM (SELECT r.kind, r.route, r.since, r.pool, r.room, t.next_at - r.priority * interval '1 minute' AS rank
                      FROM bound r CROSS JOIN LATERAL (
                           SELECT t.next_at FROM rota.trigger_due t
                            WHERE t.route = r.route AND t.state = 'W' AND NOT t.paused AND t.next_at BETWEEN r.since AND r.until
                            ORDER BY t.next_at LIMIT r.room) t
                     WHERE r.kind = 't'
                    UNION ALL
                    SELECT r.kind, r.route, r.since, r.pool, r.room, p.due - r.priority * interval '1 minute'
                      FROM bound r CROSS JOIN LATERAL (
                           SELECT p.due FROM rota.pending p
                            WHERE p.route = r.route AND p.due <= r.until
                            ORDER BY p.due LIMIT r.room) p
                     WHERE r.kind = 'p') h) ranked
     WHERE ranked.place <= ranked.room
     GROUP BY ranked.kind, ranked.route, ranked.since
    UNION ALL
    SELECT r.kind, r.route, r.since, r.room FROM rival r WHERE r.rivals = 1
)
