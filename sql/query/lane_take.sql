-- Second half of lane_pick's transaction: runs that have a slot move from pending into one receipt, those
-- that cannot run now are held until an event brings them back. Returns what run_claim does.
-- $1 incarnation: of this node
-- $2 ids: runs to claim
-- $3 lanes: of each, NULL for none any more
-- $4 slots: its number in the lane
-- $5 held_ids: runs to hold
-- $6 held_lanes: of each
-- $7 held_kinds: L where its lane is full, P where its job is paused
-- $8 full_lanes: those of them that are full: what else is due in them is held, too, or a long queue of one lane
--   would take many claims to get out of the way of others
-- on: work
WITH taken AS (
    DELETE FROM rota.pending p WHERE p.id = ANY ($2::bigint[])
    RETURNING p.id, p.route, p.due, p.job_id, p.trigger_id, p.scheduled_at, p.enqueued_at, p.attempt, p.crashes,
              p.missed, p.recovering, p.data, p.checkpoint, p.earlier, p.made_up, p.extra, p.bucket
), started AS ( -- its rate hears of it
    INSERT INTO rota.rate_due (at, bucket, job_id, started)
    SELECT clock_timestamp(), t.bucket, t.job_id, true FROM taken t WHERE t.bucket IS NOT NULL
), claimer AS (
    SELECT $1::integer AS incarnation, true AS laned
), placed AS MATERIALIZED (
    SELECT t.* FROM taken t ORDER BY t.due, t.id
), drawn AS ( -- lanes have no bundles
    SELECT b.ids, b.data, b.route, b.job_id, b.due, b.enqueued_at, b.taken, b.size AS runs FROM rota.bundle b WHERE false
), reached AS ( -- they are looked for from the start always
    SELECT false AS bundles, p.route, p.due FROM placed p WHERE false
)
-- include ../part/claim_receipt.sql
, slot AS (
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
), others AS MATERIALIZED (
    SELECT o.id
      FROM unnest($8::bigint[]) AS l(lane) CROSS JOIN LATERAL (
           SELECT p.id FROM rota.pending p
            WHERE p.lane = l.lane AND p.held IS NULL AND p.due <= now() AND p.id <> ALL ($2::bigint[]) AND p.id <> ALL ($5::bigint[])
            ORDER BY p.due LIMIT 2000 FOR UPDATE SKIP LOCKED) o
     LIMIT 2000
), held_too AS (
    UPDATE rota.pending p SET held = 'L', held_due = p.due, due = 'infinity'
     WHERE p.id = ANY (ARRAY(SELECT o.id FROM others o))
)
-- include ../part/claim_answer.sql
