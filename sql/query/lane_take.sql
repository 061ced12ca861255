-- Second half of lane_pick's transaction: runs that have a slot move from pending into one receipt, those
-- that cannot run now are held until an event brings them back. Returns what run_claim does.
-- $1 incarnation: of this node
-- $2 ids: runs to claim
-- $3 lanes: of each, NULL for none any more
-- $4 slots: its number in the lane
-- $5 held_ids: runs to hold
-- $6 held_lanes: of each
-- $7 held_kinds: L where its lane is full, P where its job is paused
-- on: work
WITH taken AS (
    DELETE FROM rota.pending p WHERE p.id = ANY ($2::bigint[])
    RETURNING p.id, p.route, p.due, p.job_id, p.trigger_id, p.scheduled_at, p.enqueued_at, p.attempt, p.crashes,
              p.missed, p.recovering, p.data, p.checkpoint, p.earlier, p.made_up, p.extra
), placed AS MATERIALIZED (
    SELECT row_number() OVER (ORDER BY t.due, t.id)::integer - 1 AS slot, t.* FROM taken t
), receipt AS (
    INSERT INTO rota.receipt (incarnation, open, ids, routes, dues, job_ids, trigger_ids, scheduled_at, enqueued_at,
                              attempts, crashes, missed, recovering, data, checkpoints, earlier, laned, made_up, extra)
    SELECT $1::integer, repeat('1', count(*)::integer)::varbit, array_agg(o.id), array_agg(o.route), array_agg(o.due),
           array_agg(o.job_id), array_agg(o.trigger_id), array_agg(o.scheduled_at), array_agg(o.enqueued_at),
           array_agg(o.attempt), array_agg(o.crashes), array_agg(o.missed), array_agg(o.recovering),
           array_agg(o.data), array_agg(o.checkpoint), array_agg(o.earlier), true,
           array_agg(o.made_up), CASE WHEN bool_or(o.extra) THEN array_agg(o.extra) END
      FROM (SELECT * FROM placed ORDER BY placed.slot) o
    HAVING count(*) > 0
    RETURNING fence
), slot AS (
    INSERT INTO rota.lane_slot (lane, slot, job_id, run_id, fence)
    SELECT w.lane, w.slot, p.job_id, p.id, c.fence
      FROM receipt c CROSS JOIN unnest($2::bigint[], $3::bigint[], $4::integer[]) AS w(id, lane, slot)
      JOIN placed p ON p.id = w.id
     WHERE w.lane IS NOT NULL
), held AS (
    UPDATE rota.pending p
       SET held = w.kind::"char", held_due = p.due, due = 'infinity', lane = w.lane,
           route = CASE WHEN w.lane IS NULL THEN abs(p.route) ELSE -abs(p.route) END
      FROM unnest($5::bigint[], $6::bigint[], $7::text[]) AS w(id, lane, kind)
     WHERE p.id = w.id
)
SELECT c.fence, p.slot, p.id, p.job_id, p.trigger_id, p.due, p.scheduled_at, p.attempt, p.crashes, p.missed,
       p.recovering, p.data, p.checkpoint, p.earlier::text, now(), (SELECT f.definition_revision FROM rota.fleet f),
       p.made_up, p.extra
  FROM receipt c CROSS JOIN placed p
