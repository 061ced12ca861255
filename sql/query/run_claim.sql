-- Moves due runs from pending into one receipt of this node and returns them with their bit. Those of
-- lanes take their own share: lane_pick.
-- $1 routes: those with room; negative ones for lanes
-- $2 priorities: of each
-- $3 pools: the pool that serves each
-- $4 rooms: free slots of that pool
-- $5 incarnation: of this node
-- on: work
WITH asked AS MATERIALIZED (
    SELECT r.*, '-infinity'::timestamptz AS since
      FROM unnest($1::integer[], $2::smallint[], $3::integer[], $4::integer[]) AS r(route, priority, pool, room)
),
-- include ../part/claim_heads.sql
, picked AS MATERIALIZED (
    SELECT d.id
      FROM quota q CROSS JOIN LATERAL (
           SELECT p.id FROM rota.pending p
            WHERE p.route = q.route AND p.due <= now()
            ORDER BY p.due LIMIT q.wanted
              FOR UPDATE SKIP LOCKED) d
     WHERE q.kind = 'p' AND q.route > 0
), taken AS (
    DELETE FROM rota.pending p WHERE p.id = ANY (ARRAY(SELECT k.id FROM picked k))
    RETURNING p.id, p.route, p.due, p.job_id, p.trigger_id, p.scheduled_at, p.enqueued_at, p.attempt, p.crashes,
              p.missed, p.recovering, p.data, p.checkpoint, p.earlier, p.made_up, p.extra, p.bucket
), started AS ( -- its rate hears of it
    INSERT INTO rota.rate_due (at, bucket, job_id, started)
    SELECT clock_timestamp(), t.bucket, t.job_id, true FROM taken t WHERE t.bucket IS NOT NULL
), placed AS MATERIALIZED (
    SELECT row_number() OVER (ORDER BY t.due, t.id)::integer - 1 AS slot, t.* FROM taken t
), receipt AS (
    INSERT INTO rota.receipt (incarnation, open, ids, routes, dues, job_ids, trigger_ids, scheduled_at, enqueued_at,
                              attempts, crashes, missed, recovering, data, checkpoints, earlier, made_up, extra)
    SELECT $5::integer, repeat('1', count(*)::integer)::varbit, array_agg(o.id), array_agg(o.route), array_agg(o.due),
           array_agg(o.job_id), array_agg(o.trigger_id), array_agg(o.scheduled_at), array_agg(o.enqueued_at),
           array_agg(o.attempt), array_agg(o.crashes), array_agg(o.missed), array_agg(o.recovering),
           array_agg(o.data), array_agg(o.checkpoint), array_agg(o.earlier),
           array_agg(o.made_up), CASE WHEN bool_or(o.extra) THEN array_agg(o.extra) END
      FROM (SELECT * FROM placed ORDER BY placed.slot) o
    HAVING count(*) > 0
    RETURNING fence
)
SELECT c.fence, p.slot, p.id, p.job_id, p.trigger_id, p.due, p.scheduled_at, p.attempt, p.crashes, p.missed,
       p.recovering, p.data, p.checkpoint, p.earlier::text, now(), (SELECT f.definition_revision FROM rota.fleet f),
       p.made_up, p.extra, p.bucket IS NOT NULL
  FROM receipt c CROSS JOIN placed p
