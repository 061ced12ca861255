-- Locks due runs of lanes, to be claimed or parked by lane_take in the same transaction: as many as there
-- is room for among all that compete, and more, as many of them may find their lanes full. The lane is
-- that of the job's definition now.
-- $1 routes: those with room; negative ones for lanes
-- $2 priorities: of each
-- $3 pools: the pool that serves each
-- $4 rooms: how many that pool takes
-- $5 slots: free ones of that pool
-- $6 since: of each route, from where on to look for triggers, NULL for all
-- $7 rows_since: the same for rows of pending
-- $8 bundles_since: and for bundles
-- on: work
WITH asked AS MATERIALIZED (
    SELECT r.route, r.priority, r.pool, r.room, r.slots, coalesce(r.since, '-infinity') AS since,
           coalesce(r.rows_since, '-infinity') AS rows_since, coalesce(r.bundles_since, '-infinity') AS bundles_since
      FROM unnest($1::integer[], $2::smallint[], $3::integer[], $4::integer[], $5::integer[], $6::timestamptz[],
                  $7::timestamptz[], $8::timestamptz[])
           AS r(route, priority, pool, room, slots, since, rows_since, bundles_since)
),
-- include ../part/claim_heads.sql
, quota AS MATERIALIZED (
    SELECT h.route, h.sure AS wanted FROM head h WHERE h.kind = 'p' AND h.route < 0 AND h.sure > 0
)
SELECT d.id, d.route, CASE WHEN j.lane_limit IS NOT NULL THEN rota.run_lane(d.job_id, d.trigger_id, d.data) END,
       j.lane_limit, coalesce(j.held, false), (SELECT f.definition_revision FROM rota.fleet f)
  FROM quota q CROSS JOIN LATERAL (
       SELECT p.id, p.route, p.due, p.job_id, p.trigger_id, p.data
         FROM rota.pending p
        WHERE p.route = q.route AND p.due <= now()
        ORDER BY p.due LIMIT greatest(q.wanted, 100)
          FOR UPDATE SKIP LOCKED) d
       JOIN rota.route r ON r.id = -d.route
       LEFT JOIN rota.job j ON j.id = d.job_id
 ORDER BY d.due - r.priority * interval '1 minute', d.id
