-- Second half of trigger_acquire's transaction: advances the locked triggers and records their runs:
-- those with a slot in a receipt of this node, made-up ones beyond that in pending. Also how a
-- trigger goes to error or completes.
-- $1 incarnation: of this node
-- $2 triggers: ids of those to be advanced
-- $3 next_at: their next occurrences, NULL where there is none
-- $4 states: W, C, E, or B where its lane is full; in error it keeps its occurrence
-- $5 previous_at: the newest occurrence fired, NULL to leave it
-- $6 fired: runs made now
-- $7 missed: occurrences passed over now
-- $8 misfired: runs made up for now
-- $9 errors: text where the state is E
-- $10 run_triggers: trigger of each run that goes into the receipt
-- $11 run_jobs: its job
-- $12 run_routes: its route
-- $13 run_scheduled: its occurrence
-- $14 run_missed: occurrences it stands for besides
-- $15 later_triggers: the same for runs that go to pending
-- $16 later_jobs: their jobs
-- $17 later_routes: their routes
-- $18 later_scheduled: their occurrences
-- $19 later_missed: as above
-- $20 later_made_up: whether the misfire policy made them up; those are paced for the whole fleet
-- $21 pace_us: microseconds between made-up runs
-- $22 laned: whether the runs of the receipt belong to lanes
-- $23 run_lanes: lane of each, none unless laned
-- $24 run_slots: its number in the lane
-- $25 later_lanes: lanes of runs that go to pending, NULL for none
-- $26 later_rated: whether their jobs have a rate, and they wait for it
-- $27 places: where the locked row of each of $2 stands, which saves looking for it
-- on: work
WITH advanced AS (
    UPDATE rota.trigger_due t
       SET next_at = CASE WHEN a.state = 'E' THEN t.next_at ELSE a.next_at END, state = a.state::"char", previous_at = coalesce(a.previous_at, t.previous_at),
           fired = t.fired + a.fired, missed = t.missed + a.missed, misfired = t.misfired + a.misfired,
           error = a.error, error_at = CASE WHEN a.error IS NOT NULL THEN now() END, error_run = NULL,
           pass_from = CASE WHEN a.state = 'E' OR a.next_at = t.next_at THEN t.pass_from END,
           pass_until = CASE WHEN a.state = 'E' OR a.next_at = t.next_at THEN t.pass_until END
      FROM unnest($2::integer[], $3::timestamptz[], $4::text[], $5::timestamptz[], $6::bigint[], $7::bigint[],
                  $8::bigint[], $9::text[], $27::tid[])
           AS a(trigger_id, next_at, state, previous_at, fired, missed, misfired, error, place)
     WHERE t.ctid = a.place AND t.trigger_id = a.trigger_id
    RETURNING 1
), wanted AS MATERIALIZED (
    SELECT l.*, CASE WHEN l.made_up THEN count(*) FILTER (WHERE l.made_up) OVER (ORDER BY l.place) END AS turn
      FROM unnest($15::integer[], $16::integer[], $17::integer[], $18::timestamptz[], $19::integer[], $20::boolean[],
                  $25::bigint[], $26::boolean[])
           WITH ORDINALITY AS l(trigger_id, job_id, route, scheduled_at, missed, made_up, lane, rated, place)
), pace AS (
    UPDATE rota.fleet f
       SET paced_until = greatest(f.paced_until, now()) + m.made_up * $21::bigint * interval '1 us'
      FROM (SELECT count(*) AS made_up FROM wanted w WHERE w.made_up) m
     WHERE m.made_up > 0
    RETURNING f.paced_until - m.made_up * $21::bigint * interval '1 us' AS since
), later AS (
    INSERT INTO rota.pending AS q (route, due, job_id, trigger_id, scheduled_at, missed, lane, made_up, bucket, held, held_due)
    SELECT d.route, CASE WHEN d.bucket IS NULL THEN d.due ELSE 'infinity' END, d.job_id, d.trigger_id, d.scheduled_at, d.missed,
           d.lane, d.made_up, d.bucket, CASE WHEN d.bucket IS NOT NULL THEN 'R'::"char" END,
           CASE WHEN d.bucket IS NOT NULL THEN d.due END
      FROM (SELECT w.*, CASE WHEN w.rated THEN rota.run_bucket(w.job_id, w.trigger_id, NULL) END AS bucket,
                   CASE WHEN w.made_up THEN p.since + (w.turn - 1) * $21::bigint * interval '1 us' ELSE w.scheduled_at END AS due
              FROM wanted w LEFT JOIN pace p ON true) d
    RETURNING q.bucket, q.job_id, q.held_due
), rate AS (
    INSERT INTO rota.rate_due (at, bucket, job_id)
    SELECT min(l.held_due), l.bucket, min(l.job_id) FROM later l WHERE l.bucket IS NOT NULL GROUP BY l.bucket
), receipt AS (
    INSERT INTO rota.receipt (incarnation, open, ids, routes, dues, job_ids, trigger_ids, scheduled_at, enqueued_at,
                              attempts, crashes, missed, recovering, data, checkpoints, earlier, laned)
    SELECT $1::integer,
           -- refused by the column where a trigger was not found: its occurrence would be fired again
           CASE WHEN (SELECT count(*) FROM advanced) = cardinality($2::integer[]) THEN repeat('1', n.runs)::varbit END,
           ARRAY(SELECT nextval('rota.run_id') FROM generate_series(1, n.runs)),
           $12::integer[], $13::timestamptz[], $11::integer[], $10::integer[], $13::timestamptz[],
           array_fill(now(), ARRAY[n.runs]), array_fill(1::smallint, ARRAY[n.runs]),
           array_fill(0::smallint, ARRAY[n.runs]), $14::integer[], array_fill(false, ARRAY[n.runs]),
           array_fill(NULL::json, ARRAY[n.runs]), array_fill(NULL::json, ARRAY[n.runs]),
           array_fill(NULL::jsonb, ARRAY[n.runs]), $22::boolean
      FROM (SELECT cardinality($10::integer[]) AS runs) n
     WHERE n.runs > 0
    RETURNING fence, ids
), slot AS (
    INSERT INTO rota.lane_slot (lane, slot, job_id, run_id, fence)
    SELECT l.lane, l.slot, l.job_id, r.ids[l.place], r.fence
      FROM receipt r CROSS JOIN unnest($23::bigint[], $24::integer[], $11::integer[])
                                WITH ORDINALITY AS l(lane, slot, job_id, place)
     WHERE $22::boolean
)
SELECT r.fence, r.ids FROM receipt r
