-- Moves due runs from pending, and out of bundles, into receipts of this node: those of pending into one, those
-- of each bundle into one of their own. Those of lanes take their own share: lane_pick.
-- $1 routes: those with room; negative ones for lanes
-- $2 priorities: of each
-- $3 pools: the pool that serves each
-- $4 rooms: how many that pool takes: into free slots, and to be at hand
-- $5 slots: free ones of that pool; beyond them only runs that would be run again if their node died, and that do
--   not begin with what the run before them leaves
-- $6 incarnation: of this node
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
, claimer AS (
    SELECT $6::integer AS incarnation, false AS laned
), near_rows AS MATERIALIZED (
    SELECT d.at, d.id, h.route, d.due, d.job_id, d.trigger_id, d.attempt, h.sure, row_number() OVER (PARTITION BY h.route) AS turn
      FROM head h CROSS JOIN LATERAL (
           SELECT p.ctid AS at, p.id, p.due, p.job_id, p.trigger_id, p.attempt FROM rota.pending p
            WHERE p.route = h.route AND p.due BETWEEN h.rows_since AND now()
            ORDER BY p.due LIMIT h.wanted
              FOR UPDATE SKIP LOCKED) d
     WHERE h.kind = 'p' AND h.route > 0
), again AS MATERIALIZED ( -- jobs of those beyond the slots
    SELECT j.id, j.requests_recovery, j.max_attempts FROM rota.job j
     WHERE j.id = ANY (ARRAY(SELECT DISTINCT n.job_id FROM near_rows n WHERE n.turn > n.sure)) AND NOT j.persist_data
), picked AS MATERIALIZED (
    SELECT n.at, n.route, n.due,
           n.turn <= n.sure OR EXISTS (SELECT FROM again j
                                        WHERE j.id = n.job_id AND (coalesce(j.requests_recovery, n.trigger_id IS NULL)
                                                                   OR n.attempt < j.max_attempts)) AS good
      FROM near_rows n
), taken AS ( -- by their places: they are locked, so that they cannot have moved
    DELETE FROM rota.pending p WHERE p.ctid = ANY (ARRAY(SELECT k.at FROM picked k WHERE k.good))
    RETURNING p.id, p.route, p.due, p.job_id, p.trigger_id, p.scheduled_at, p.enqueued_at, p.attempt, p.crashes,
              p.missed, p.recovering, p.data, p.checkpoint, p.earlier, p.made_up, p.extra, p.bucket
), started AS ( -- its rate hears of it
    INSERT INTO rota.rate_due (at, bucket, job_id, started)
    SELECT clock_timestamp(), t.bucket, t.job_id, true FROM taken t WHERE t.bucket IS NOT NULL
), placed AS MATERIALIZED (
    SELECT t.* FROM taken t ORDER BY t.due, t.id
), filling AS MATERIALIZED ( -- how many bundles there are in that: most are whole, but they may be small
    SELECT h.route, h.bundles_since, h.wanted, n.bundles
      FROM head h CROSS JOIN LATERAL (
           SELECT count(*) AS bundles
             FROM (SELECT sum(f.rest) OVER (ORDER BY f.due ROWS UNBOUNDED PRECEDING) - f.rest AS ahead
                     FROM (SELECT b.due, b.size - b.taken AS rest FROM rota.bundle b
                            WHERE b.route = h.route AND b.due BETWEEN h.bundles_since AND now()
                            ORDER BY b.due LIMIT h.wanted * 10 / rota.bundle_size() + 8) f) a
            WHERE a.ahead < h.wanted) n
     WHERE h.kind = 'b' AND h.route > 0
), near_bundles AS MATERIALIZED (
    SELECT d.id, h.route, d.due, d.taken, d.rest, h.wanted, sum(d.rest) OVER (PARTITION BY h.route ORDER BY d.due, d.id) - d.rest AS ahead
      FROM filling h CROSS JOIN LATERAL (
           SELECT b.id, b.due, b.taken, b.size - b.taken AS rest FROM rota.bundle b
            WHERE b.route = h.route AND b.due BETWEEN h.bundles_since AND now()
            ORDER BY b.due LIMIT h.bundles
              FOR UPDATE SKIP LOCKED) d
), share AS MATERIALIZED (
    SELECT n.id, n.route, n.due, n.taken, least(n.rest, n.wanted - n.ahead)::integer AS runs, n.rest <= n.wanted - n.ahead AS whole
      FROM near_bundles n WHERE n.ahead < n.wanted
), emptied AS ( -- by their keys, as an array: a join may be planned to read all bundles
    DELETE FROM rota.bundle b WHERE b.id = ANY (ARRAY(SELECT s.id FROM share s WHERE s.whole))
    RETURNING b.id, b.ids, b.data, b.route, b.job_id, b.due, b.enqueued_at
), cut AS (
    UPDATE rota.bundle b SET taken = b.taken + (SELECT s.runs FROM share s WHERE s.id = b.id)
     WHERE b.id = ANY (ARRAY(SELECT s.id FROM share s WHERE NOT s.whole))
    RETURNING b.id, b.ids, b.data, b.route, b.job_id, b.due, b.enqueued_at
), drawn AS (
    SELECT d.ids, d.data, d.route, d.job_id, d.due, d.enqueued_at, s.taken, s.runs
      FROM (SELECT e.* FROM emptied e UNION ALL SELECT c.* FROM cut c) d JOIN share s ON s.id = d.id
), reached AS ( -- as far as each route was taken without leaving any
    SELECT false AS bundles, k.route, coalesce(min(k.due) FILTER (WHERE NOT k.good), max(k.due)) AS due FROM picked k GROUP BY k.route
    UNION ALL
    SELECT true, s.route, max(s.due) FROM share s GROUP BY s.route
)
-- include ../part/claim_receipt.sql
-- include ../part/claim_answer.sql
