-- Locks due triggers, as many as there is room for, to be advanced by trigger_fire in the same
-- transaction. Only asks how many of the heads are triggers; runs that wait take their own share, and
-- so do lanes: either what has none is taken or what has one (the latter more than fit, as many of them
-- may find their lanes full).
-- $1 routes: those with room; negative ones for lanes
-- $2 priorities: of each
-- $3 pools: the pool that serves each
-- $4 rooms: how many that pool takes
-- $5 slots: free ones of that pool
-- $6 laned: whether triggers of lanes are wanted, or those without
-- $7 since: of each route, from where on to look for triggers, NULL for all; what is before it was fired
-- $8 rows_since: the same for rows of pending; what is before it was taken
-- $9 bundles_since: and for bundles
-- on: work
WITH asked AS MATERIALIZED (
    SELECT r.route, r.priority, r.pool, r.room, r.slots, coalesce(r.since, '-infinity') AS since,
           coalesce(r.rows_since, '-infinity') AS rows_since, coalesce(r.bundles_since, '-infinity') AS bundles_since
      FROM unnest($1::integer[], $2::smallint[], $3::integer[], $4::integer[], $5::integer[], $7::timestamptz[],
                  $8::timestamptz[], $9::timestamptz[])
           AS r(route, priority, pool, room, slots, since, rows_since, bundles_since)
),
-- include ../part/claim_heads.sql
SELECT d.trigger_id, d.route, d.revision, d.next_at, d.previous_at, now(), (SELECT f.definition_revision FROM rota.fleet f),
       d.pass_from, d.pass_until, d.lane,
       CASE WHEN d.lane IS NOT NULL
            THEN (SELECT coalesce(j.lane_limit, 1) FROM rota.trigger t JOIN rota.job j ON j.id = t.job_id
                   WHERE t.id = d.trigger_id) END, d.place
  FROM head q CROSS JOIN LATERAL (
       SELECT t.ctid AS place, t.trigger_id, t.route, t.revision, t.next_at, t.previous_at, t.pass_from, t.pass_until, t.lane
         FROM rota.trigger_due t
        WHERE t.route = q.route AND t.state = 'W' AND NOT t.paused AND t.next_at BETWEEN q.since AND now()
        ORDER BY t.next_at LIMIT CASE WHEN $6::boolean THEN greatest(q.sure, 100) ELSE q.sure END
          FOR UPDATE SKIP LOCKED) d
 WHERE q.kind = 't' AND (q.route < 0) = $6::boolean AND q.sure > 0
