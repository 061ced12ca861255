-- Locks due triggers, as many as there is room for, to be advanced by trigger_fire in the same
-- transaction. Only asks how many of the heads are triggers; runs that wait take their own share.
-- $1 routes: those with room
-- $2 priorities: of each
-- $3 pools: the pool that serves each
-- $4 rooms: free slots of that pool
-- on: work
WITH route AS MATERIALIZED (
    SELECT * FROM unnest($1::integer[], $2::smallint[], $3::integer[], $4::integer[]) AS r(route, priority, pool, room)
), head AS MATERIALIZED (
    -- the heads of all routes in one order: due time, a minute earlier for each step of priority
    SELECT ranked.kind, ranked.route
      FROM (SELECT h.kind, h.route, h.room, row_number() OVER (PARTITION BY h.pool ORDER BY h.rank) AS place
              FROM (SELECT 't' AS kind, r.route, r.pool, r.room, t.next_at - r.priority * interval '1 minute' AS rank
                      FROM route r CROSS JOIN LATERAL (
                           SELECT t.next_at FROM rota.trigger_due t
                            WHERE t.route = r.route AND t.state = 'W' AND NOT t.paused AND t.next_at <= now()
                            ORDER BY t.next_at LIMIT r.room) t
                    UNION ALL
                    SELECT 'p', r.route, r.pool, r.room, p.due - r.priority * interval '1 minute'
                      FROM route r CROSS JOIN LATERAL (
                           SELECT p.due FROM rota.pending p
                            WHERE p.route = r.route AND p.due <= now()
                            ORDER BY p.due LIMIT r.room) p) h) ranked
     WHERE ranked.place <= ranked.room
), quota AS MATERIALIZED (
    SELECT h.route, count(*) AS wanted FROM head h WHERE h.kind = 't' GROUP BY h.route
)
SELECT d.trigger_id, d.route, d.revision, d.next_at, d.previous_at, now(), (SELECT f.definition_revision FROM rota.fleet f)
  FROM quota q CROSS JOIN LATERAL (
       SELECT t.trigger_id, t.route, t.revision, t.next_at, t.previous_at
         FROM rota.trigger_due t
        WHERE t.route = q.route AND t.state = 'W' AND NOT t.paused AND t.next_at <= now()
        ORDER BY t.next_at LIMIT q.wanted
          FOR UPDATE SKIP LOCKED) d
