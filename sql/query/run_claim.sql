-- Moves due runs from pending into one receipt of this node and returns them with their bit. Those of
-- lanes take their own share: lane_pick.
-- $1 routes: those with room; negative ones for lanes
-- $2 priorities: of each
-- $3 pools: the pool that serves each
-- $4 rooms: free slots of that pool
-- $5 incarnation: of this node
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
    SELECT h.route, count(*) AS wanted FROM head h WHERE h.kind = 'p' AND h.route > 0 GROUP BY h.route
), picked AS MATERIALIZED (
    SELECT d.id
      FROM quota q CROSS JOIN LATERAL (
           SELECT p.id FROM rota.pending p
            WHERE p.route = q.route AND p.due <= now()
            ORDER BY p.due LIMIT q.wanted
              FOR UPDATE SKIP LOCKED) d
), taken AS (
    DELETE FROM rota.pending p WHERE p.id = ANY (ARRAY(SELECT k.id FROM picked k))
    RETURNING p.id, p.route, p.due, p.job_id, p.trigger_id, p.scheduled_at, p.enqueued_at, p.attempt, p.crashes,
              p.missed, p.recovering, p.data, p.checkpoint, p.earlier, p.made_up
), placed AS MATERIALIZED (
    SELECT row_number() OVER (ORDER BY t.due, t.id)::integer - 1 AS slot, t.* FROM taken t
), receipt AS (
    INSERT INTO rota.receipt (incarnation, open, ids, routes, dues, job_ids, trigger_ids, scheduled_at, enqueued_at,
                              attempts, crashes, missed, recovering, data, checkpoints, earlier, made_up)
    SELECT $5::integer, repeat('1', count(*)::integer)::varbit, array_agg(o.id), array_agg(o.route), array_agg(o.due),
           array_agg(o.job_id), array_agg(o.trigger_id), array_agg(o.scheduled_at), array_agg(o.enqueued_at),
           array_agg(o.attempt), array_agg(o.crashes), array_agg(o.missed), array_agg(o.recovering),
           array_agg(o.data), array_agg(o.checkpoint), array_agg(o.earlier),
           array_agg(o.made_up)
      FROM (SELECT * FROM placed ORDER BY placed.slot) o
    HAVING count(*) > 0
    RETURNING fence
)
SELECT c.fence, p.slot, p.id, p.job_id, p.trigger_id, p.due, p.scheduled_at, p.attempt, p.crashes, p.missed,
       p.recovering, p.data, p.checkpoint, p.earlier::text, now(), (SELECT f.definition_revision FROM rota.fleet f),
       p.made_up
  FROM receipt c CROSS JOIN placed p
