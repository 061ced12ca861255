-- What moves runs, made to know all that came with the queue: put_back, recover, pauses, the views.

-- ---- runs on their way back ----

-- As in 0002, and: with the checkpoint that was noted; to wait for their rate again.
CREATE OR REPLACE FUNCTION rota.put_back(mine integer, fences bigint[], slots integer[], delays_ms bigint[],
                                         more_attempts integer[], more_crashes integer[], recovering boolean[],
                                         entries jsonb[]) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    moved bigint;
    laned bigint;
    lane_runs bigint[];
    lane_fences bigint[];
    rated bigint[];
    rated_jobs integer[];
    rated_dues timestamptz[];
BEGIN
    WITH wish AS MATERIALIZED (
        SELECT * FROM unnest(fences, slots, delays_ms, more_attempts, more_crashes, recovering, entries)
                      AS w(fence, slot, delay_ms, more_attempt, more_crash, recovering, entry)
    ), receipt AS MATERIALIZED (
        SELECT r FROM rota.receipt r
         WHERE r.incarnation = mine AND r.fence IN (SELECT w.fence FROM wish w)
         ORDER BY r.fence FOR UPDATE
    ), taken AS MATERIALIZED ( -- each receipt is unpacked once
        SELECT (h.r).fence AS fence, (h.r).laned AS laned, coalesce((h.r).made_up[o.slot + 1], false) AS made_up, o.*
          FROM receipt h CROSS JOIN LATERAL rota.receipt_runs(h.r) o
    ), run AS MATERIALIZED (
        SELECT w.more_attempt, w.more_crash, w.recovering AS now_recovering, w.entry, t.*,
               CASE WHEN w.delay_ms > 0 THEN now() + w.delay_ms * interval '1 ms' ELSE greatest(t.due, '1970-01-01 00:00:00+00') END AS again,
               CASE WHEN j.lane_limit IS NOT NULL THEN rota.run_lane(t.job_id, t.trigger_id, t.data) END AS lane,
               CASE WHEN j.rate_limit IS NOT NULL THEN rota.run_bucket(t.job_id, t.trigger_id, t.data) END AS bucket,
               CASE WHEN j.held THEN 'P'::"char" WHEN j.rate_limit IS NOT NULL THEN 'R'::"char" END AS hold,
               x.run_id IS NOT NULL AS extra, x.checkpoint AS noted, coalesce(j.max_pending, 0) > 0 AS counted
          FROM taken t JOIN wish w ON w.fence = t.fence AND w.slot = t.slot LEFT JOIN rota.job j ON j.id = t.job_id
               LEFT JOIN rota.run_extra x ON x.run_id = t.id
    ), rest AS MATERIALIZED (
        SELECT (h.r).fence AS fence, bit_and(set_bit((h.r).open, run.slot, 0))::varbit AS open
          FROM receipt h JOIN run ON run.fence = (h.r).fence
         GROUP BY (h.r).fence
    ), gone AS (
        DELETE FROM rota.receipt r USING rest WHERE r.fence = rest.fence AND bit_count(rest.open) = 0
    ), kept AS (
        UPDATE rota.receipt r SET open = rest.open FROM rest
         WHERE r.fence = rest.fence AND bit_count(rest.open) > 0
    ), back AS (
        INSERT INTO rota.pending (id, route, due, job_id, trigger_id, scheduled_at, enqueued_at, attempt, crashes,
                                  missed, recovering, data, checkpoint, earlier, lane, held, held_due, made_up,
                                  extra, counted, bucket)
        SELECT run.id, rota.route_now(run.route, run.job_id, run.lane IS NOT NULL), CASE WHEN run.hold IS NOT NULL THEN 'infinity' ELSE run.again END,
               run.job_id, run.trigger_id, run.scheduled_at, run.enqueued_at, run.attempt + run.more_attempt,
               run.crashes + run.more_crash, run.missed, run.recovering OR run.now_recovering, run.data,
               coalesce(run.noted, run.checkpoint),
               CASE WHEN run.entry IS NULL THEN run.earlier ELSE rota.earlier_add(run.earlier, run.entry) END,
               run.lane, run.hold, CASE WHEN run.hold IS NOT NULL THEN run.again END, run.made_up, run.extra, run.counted,
               run.bucket
          FROM run
        RETURNING lane
    )
    SELECT (SELECT count(*) FROM back), (SELECT count(b.lane) FROM back b),
           (SELECT array_agg(run.id) FROM run WHERE run.laned), (SELECT array_agg(run.fence) FROM run WHERE run.laned),
           (SELECT array_agg(run.bucket) FROM run WHERE run.hold = 'R'), (SELECT array_agg(run.job_id) FROM run WHERE run.hold = 'R'),
           (SELECT array_agg(run.again) FROM run WHERE run.hold = 'R')
      INTO moved, laned, lane_runs, lane_fences, rated, rated_jobs, rated_dues;
    IF rated IS NOT NULL THEN
        PERFORM rota.rate_tell(rated, rated_jobs, rated_dues);
    END IF;
    IF lane_runs IS NOT NULL THEN
        PERFORM rota.lane_release(lane_runs, lane_fences);
    END IF;
    IF moved > laned THEN
        PERFORM pg_notify('rota.wake', '');
    END IF;
    IF laned > 0 THEN
        PERFORM pg_notify('rota.wake', 'lane');
    END IF;
    RETURN moved;
END $$;

-- As in 0002, and: with the checkpoint that was noted; to wait for their rate again; what hangs on those that
-- end ends with them.
CREATE OR REPLACE FUNCTION rota.recover(dead integer, believed timestamptz DEFAULT 'infinity', steady interval DEFAULT NULL,
                             lanes boolean DEFAULT true)
RETURNS TABLE (put_back bigint, lost bigint, waits boolean)
LANGUAGE plpgsql SET lock_timeout = '1s' AS $$
DECLARE
    dead_node text;
    lease_over boolean;
    lane_runs bigint[];
    lane_fences bigint[];
    laned bigint;
    rated bigint[];
    rated_jobs integer[];
    lost_runs bigint[];
BEGIN
    SELECT i.node, lanes AND i.lease_until <= least(clock_timestamp(), believed)
                   AND (steady IS NULL OR i.lease_until - i.renewed_at <= steady)
      INTO dead_node, lease_over
      FROM rota.incarnation i WHERE i.id = dead FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    -- first: what is being noted of its runs is written then, and the next statement sees it
    PERFORM FROM rota.receipt r WHERE r.incarnation = dead AND (lease_over OR NOT r.laned) ORDER BY r.fence FOR UPDATE;
    WITH taken AS MATERIALIZED (
        DELETE FROM rota.receipt r WHERE r.incarnation = dead AND (lease_over OR NOT r.laned) RETURNING r
    ), run AS MATERIALIZED (
        SELECT o.*, (t.r).fence AS fence, (t.r).claimed_at AS claimed_at, (t.r).laned AS laned,
               coalesce((t.r).made_up[o.slot + 1], false) AS made_up,
               j.name AS task, g.name AS trigger_name,
               coalesce(j.requests_recovery, o.trigger_id IS NULL) AS recover,
               o.attempt < j.max_attempts AS attempts_left,
               CASE WHEN j.rate_limit IS NOT NULL THEN rota.run_bucket(o.job_id, o.trigger_id, o.data) END AS bucket,
               CASE WHEN j.held THEN 'P'::"char" WHEN j.rate_limit IS NOT NULL THEN 'R'::"char" END AS hold,
               x.run_id IS NOT NULL AS extra, x.checkpoint AS noted, coalesce(j.max_pending, 0) > 0 AS counted,
               CASE WHEN j.lane_limit IS NOT NULL THEN rota.run_lane(o.job_id, o.trigger_id, o.data) END AS lane,
               jsonb_build_object('attempt', o.attempt, 'node', dead_node, 'started_at', (t.r).claimed_at,
                                  'outcome', 'lost', 'message', 'the node died') AS entry
          FROM taken t CROSS JOIN LATERAL rota.receipt_runs(t.r) o
          LEFT JOIN rota.job j ON j.id = o.job_id
          LEFT JOIN rota.trigger g ON g.id = o.trigger_id
          LEFT JOIN rota.run_extra x ON x.run_id = o.id
    ), back AS (
        INSERT INTO rota.pending (id, route, due, job_id, trigger_id, scheduled_at, enqueued_at, attempt, crashes,
                                  missed, recovering, data, checkpoint, earlier, lane, held, held_due, made_up,
                                  extra, counted, bucket)
        SELECT w.id, rota.route_now(w.route, w.job_id, w.lane IS NOT NULL), CASE WHEN w.hold IS NOT NULL THEN 'infinity' ELSE now() END, w.job_id,
               w.trigger_id, w.scheduled_at, w.enqueued_at,
               CASE WHEN w.recover THEN w.attempt ELSE w.attempt + 1 END, w.crashes, w.missed, true, w.data,
               coalesce(w.noted, w.checkpoint), rota.earlier_add(w.earlier, w.entry),
               w.lane, w.hold, CASE WHEN w.hold IS NOT NULL THEN now() END, w.made_up, w.extra, w.counted, w.bucket
          FROM run w WHERE w.recover OR w.attempts_left
        RETURNING lane
    ), over AS (
        INSERT INTO rota.task_history (id, task, trigger, started_at, ended_at, status, outcome, node, attempt,
                                       missed, scheduled_at, fence, task_details, misfired, data)
        SELECT w.id, coalesce(w.task, '(deleted job)'), w.trigger_name, w.claimed_at, now(), 'unknown', 'lost', dead_node,
               w.attempt, w.missed, w.scheduled_at, w.fence,
               jsonb_strip_nulls(jsonb_build_object('status', 'unknown', 'message',
                   'node ' || dead_node || ' died while it ran this', 'attempts', w.earlier))::json, w.made_up, w.data
          FROM run w WHERE NOT coalesce(w.recover OR w.attempts_left, false)
        RETURNING id
    )
    SELECT (SELECT count(*) FROM back), (SELECT count(b.lane) FROM back b), (SELECT count(*) FROM over),
           (SELECT array_agg(w.id) FROM run w WHERE w.laned), (SELECT array_agg(w.fence) FROM run w WHERE w.laned),
           (SELECT array_agg(w.bucket) FROM run w WHERE w.hold = 'R' AND (w.recover OR w.attempts_left)),
           (SELECT array_agg(w.job_id) FROM run w WHERE w.hold = 'R' AND (w.recover OR w.attempts_left)),
           (SELECT array_agg(o.id) FROM over o)
      INTO put_back, laned, lost, lane_runs, lane_fences, rated, rated_jobs, lost_runs;
    IF rated IS NOT NULL THEN
        PERFORM rota.rate_tell(rated, rated_jobs, array_fill(now(), ARRAY[cardinality(rated)]));
    END IF;
    IF lost_runs IS NOT NULL THEN
        PERFORM rota.runs_ended(lost_runs);
    END IF;
    waits := NOT lease_over AND EXISTS (SELECT FROM rota.receipt r WHERE r.incarnation = dead AND r.laned);
    IF NOT waits THEN
        DELETE FROM rota.incarnation i WHERE i.id = dead;
    END IF;
    IF lane_runs IS NOT NULL THEN
        PERFORM rota.lane_release(lane_runs, lane_fences);
    END IF;
    IF put_back > laned THEN
        PERFORM pg_notify('rota.wake', '');
    END IF;
    IF laned > 0 THEN
        PERFORM pg_notify('rota.wake', 'lane');
    END IF;
    RETURN NEXT;
END $$;

-- ---- pauses ----

-- As in 0002, but what waits for other runs, or for its rate, is not going to start and stays where it is.
CREATE OR REPLACE FUNCTION rota.pause_settle(jobs integer[], catch_up boolean, everywhere boolean DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    at timestamptz := clock_timestamp(); -- not of the transaction's begin: pauses follow upon each other
    changed bigint;
    lanes bigint[];
BEGIN
    UPDATE rota.job j SET held = w.held
      FROM (SELECT k.id, k.paused OR coalesce(everywhere, f.paused)
                         OR EXISTS (SELECT FROM rota.source_pause s WHERE s.source = k.source) AS held
              FROM rota.job k CROSS JOIN rota.fleet f WHERE jobs IS NULL OR k.id = ANY (jobs)) w
     WHERE j.id = w.id AND j.held <> w.held;
    WITH flipped AS (
        UPDATE rota.trigger_due d
           SET paused = w.paused, paused_at = CASE WHEN w.paused THEN at END,
               -- a stretch that a node has passed over already is of no use any more
               pass_from = CASE WHEN w.paused OR catch_up OR d.next_at IS NULL OR d.next_at > at
                                THEN CASE WHEN d.next_at < d.pass_until THEN d.pass_from END
                                ELSE coalesce(CASE WHEN d.next_at < d.pass_until THEN d.pass_from END, d.paused_at, d.next_at) END,
               pass_until = CASE WHEN w.paused OR catch_up OR d.next_at IS NULL OR d.next_at > at
                                 THEN CASE WHEN d.next_at < d.pass_until THEN d.pass_until END
                                 ELSE at END
          FROM (SELECT t.id, t.paused OR j.held AS paused FROM rota.trigger t JOIN rota.job j ON j.id = t.job_id
                 WHERE jobs IS NULL OR t.job_id = ANY (jobs)) w
         WHERE d.trigger_id = w.id AND d.paused <> w.paused
        RETURNING d.lane
    )
    SELECT count(*), array_agg(DISTINCT f.lane) FILTER (WHERE f.lane IS NOT NULL) INTO changed, lanes FROM flipped f;
    UPDATE rota.pending p SET due = 'infinity', held = 'P', held_due = coalesce(p.held_due, p.due)
      FROM rota.job j
     WHERE j.id = p.job_id AND j.held AND (p.held IS NULL OR p.held = 'L') AND (jobs IS NULL OR p.job_id = ANY (jobs));
    UPDATE rota.pending p -- a start that was given before the pause is not kept over it
       SET due = CASE WHEN p.bucket IS NULL THEN p.held_due ELSE p.due END,
           held = CASE WHEN p.bucket IS NOT NULL THEN 'R'::"char" END,
           held_due = CASE WHEN p.bucket IS NOT NULL THEN p.held_due END
      FROM rota.job j
     WHERE j.id = p.job_id AND NOT j.held AND p.held = 'P' AND (jobs IS NULL OR p.job_id = ANY (jobs));
    IF lanes IS NOT NULL THEN
        PERFORM rota.lane_wake(lanes);
    END IF;
    PERFORM rota.rate_tell_jobs(jobs);
    UPDATE rota.fleet f -- nodes read the jobs again
       SET paused = coalesce(everywhere, f.paused), definition_revision = f.definition_revision + 1;
    PERFORM pg_notify('rota.wake', 'definitions');
    RETURN changed;
END $$;

-- As in 0002, and: to wait for their rate.
CREATE OR REPLACE FUNCTION rota.pause_sweep() RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    done bigint;
    rated integer[];
BEGIN
    WITH RECURSIVE paused AS ( -- each job once, however many of its runs are held
        (SELECT p.job_id FROM rota.pending p WHERE p.held = 'P' ORDER BY p.job_id LIMIT 1)
        UNION ALL
        SELECT n.job_id FROM paused k CROSS JOIN LATERAL (
               SELECT p.job_id FROM rota.pending p
                WHERE p.job_id > k.job_id AND p.held = 'P' ORDER BY p.job_id LIMIT 1) n
    ), run AS MATERIALIZED (
        SELECT w.id
          FROM paused k CROSS JOIN LATERAL (
               SELECT p.id FROM rota.pending p
                WHERE p.job_id = k.job_id AND p.held = 'P' LIMIT 10000 FOR UPDATE SKIP LOCKED) w
         WHERE NOT EXISTS (SELECT FROM rota.job j WHERE j.id = k.job_id AND j.held)
    ), back AS (
        UPDATE rota.pending p
           SET due = CASE WHEN p.bucket IS NULL THEN p.held_due ELSE p.due END,
               held = CASE WHEN p.bucket IS NOT NULL THEN 'R'::"char" END,
               held_due = CASE WHEN p.bucket IS NOT NULL THEN p.held_due END
         WHERE p.id = ANY (ARRAY(SELECT run.id FROM run)) AND p.held = 'P'
        RETURNING p.bucket, p.job_id
    )
    SELECT count(*), array_agg(DISTINCT b.job_id) FILTER (WHERE b.bucket IS NOT NULL) INTO done, rated FROM back b;
    IF rated IS NOT NULL THEN
        PERFORM rota.rate_tell_jobs(rated);
    END IF;
    IF done > 0 THEN
        PERFORM pg_notify('rota.wake', 'lane'), pg_notify('rota.wake', '');
    END IF;
    RETURN done;
END $$;

-- ---- triggers that go ----

-- One that was woken for its lane and is deleted before it was claimed: the next in the lane is woken. Who
-- has a lane in his hands just now is not waited for: the sweep looks after it.
CREATE FUNCTION rota.trigger_gone() RETURNS trigger
LANGUAGE plpgsql AS $$
DECLARE
    lanes bigint[] := ARRAY(SELECT DISTINCT g.lane FROM gone g WHERE g.lane IS NOT NULL AND g.state = 'W');
BEGIN
    IF cardinality(lanes) > 0 THEN
        PERFORM rota.lane_wake(rota.lane_try(lanes));
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER trigger_gone AFTER DELETE ON rota.trigger_due REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION rota.trigger_gone();

-- ---- what can be seen ----

CREATE OR REPLACE VIEW rota.run AS
    SELECT p.id, 'pending'::text AS state, p.job_id, p.trigger_id, coalesce(p.held_due, p.due) AS due, p.scheduled_at,
           p.enqueued_at, p.attempt, p.missed, p.recovering, NULL::text AS node, NULL::timestamptz AS started_at,
           NULL::bigint AS fence, CASE p.held WHEN 'P' THEN 'paused' WHEN 'L' THEN 'lane' WHEN 'A' THEN 'after'
                                              WHEN 'R' THEN 'rate' END AS held, p.lane,
           p.made_up AS misfired, p.bucket, p.extra
      FROM rota.pending p
    UNION ALL
    SELECT o.id, 'started', o.job_id, o.trigger_id, o.due, o.scheduled_at, o.enqueued_at, o.attempt, o.missed,
           o.recovering, i.node, r.claimed_at, r.fence, NULL,
           CASE WHEN r.laned THEN (SELECT s.lane FROM rota.lane_slot s WHERE s.run_id = o.id AND s.fence = r.fence LIMIT 1) END,
           coalesce(r.made_up[o.slot + 1], false), NULL, true
      FROM rota.receipt r JOIN rota.incarnation i ON i.id = r.incarnation
           CROSS JOIN LATERAL rota.receipt_runs(r) o;

CREATE OR REPLACE VIEW rota.task AS
    SELECT r.id, j.name AS task, NULL::integer AS db_id, r.started_at, NULL::timestamptz AS ended_at,
           NULL::bigint AS duration, NULL::json AS task_details, 'started'::text AS status, x.logs::json AS logs,
           NULL::text AS outcome, r.node, r.attempt, r.scheduled_at, t.name AS trigger, r.missed, r.misfired
      FROM rota.run r JOIN rota.job j ON j.id = r.job_id LEFT JOIN rota.trigger t ON t.id = r.trigger_id
           LEFT JOIN rota.run_extra x ON x.run_id = r.id
     WHERE r.state = 'started'
    UNION ALL
    SELECT h.id, h.task, NULL, h.started_at, h.ended_at, h.duration_ms, h.task_details, h.status, h.logs, h.outcome,
           h.node, h.attempt, h.scheduled_at, h.trigger, h.missed, h.misfired
      FROM rota.task_history h;

INSERT INTO rota.schema_version (version, name, needs) VALUES (9, '0009_moves', 1);
