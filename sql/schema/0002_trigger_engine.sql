-- The trigger engine: more kinds of schedules, calendars, pauses, lanes.
--
-- What keeps a run or a trigger from running although it is due takes it out of the way of the claims
-- and brings it back by an event: a paused trigger is not in the claim index, a run that is held is due
-- at `infinity` and keeps its own time in held_due.
--
-- Lanes: the runs of a job with a limit share a lane, one for each value of its key. Whatever belongs to
-- a lane stands under the negative of its route's id, so that only who knows lanes asks for it. Three
-- rules keep lanes safe: a run of a lane is claimed together with a row of lane_slot, unique by lane and
-- number; claiming, holding and releasing happen under the lane's advisory lock, claims only try it; who
-- holds that lock waits for no row (SKIP LOCKED), so nothing can wait in a circle.

-- ---- kinds of schedules and calendars ----

CREATE TABLE rota.calendar (
    id         integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name       text NOT NULL UNIQUE CHECK (length(name) BETWEEN 1 AND 254),
    source     text NOT NULL CHECK (source <> ''),
    base       text REFERENCES rota.calendar (name) DEFERRABLE INITIALLY DEFERRED, -- excludes, too
    definition text NOT NULL, -- canonical form of the declaration, and what is evaluated
    revision   bigint NOT NULL,
    changed_at timestamptz NOT NULL DEFAULT now()
);

ALTER TABLE rota.trigger
    DROP CONSTRAINT trigger_kind_check,
    ADD CONSTRAINT trigger_kind_check CHECK (kind IN ('cron', 'every', 'at', 'calendar_interval', 'daily')),
    ADD COLUMN calendar_interval text, -- '1 month'
    ADD COLUMN daily_from text,        -- '08:00'; NULL: 00:00
    ADD COLUMN daily_to text,          -- '18:00'; NULL: 24:00
    ADD COLUMN daily_every_us bigint CHECK (daily_every_us > 0),
    ADD COLUMN daily_days text[],      -- 'MON'; NULL: every day
    ADD COLUMN calendar text REFERENCES rota.calendar (name) DEFERRABLE INITIALLY DEFERRED,
    ADD COLUMN paused boolean NOT NULL DEFAULT false, -- by its own name
    ADD CONSTRAINT trigger_calendar_interval_check
        CHECK ((kind = 'calendar_interval') = (calendar_interval IS NOT NULL)),
    ADD CONSTRAINT trigger_daily_check CHECK ((kind = 'daily') = (daily_every_us IS NOT NULL));
CREATE INDEX trigger_calendar ON rota.trigger (calendar) WHERE calendar IS NOT NULL;

ALTER TABLE rota.job
    ADD COLUMN persist_data boolean NOT NULL DEFAULT false,
    ADD COLUMN on_exhausted text NOT NULL DEFAULT 'fail' CHECK (on_exhausted IN ('fail', 'error')),
    ADD COLUMN lane_limit integer CHECK (lane_limit >= 1), -- runs at once, of each key; NULL: any number
    ADD COLUMN lane_key text CHECK (lane_key IS NULL OR lane_limit IS NOT NULL), -- JSON pointer into the data
    ADD COLUMN paused boolean NOT NULL DEFAULT false, -- by its own name
    ADD COLUMN held boolean NOT NULL DEFAULT false;   -- by its own name, its source's, or the fleet's

-- What a job with persist_data was left with by its last successful run. Instead of the declared data.
CREATE TABLE rota.job_data (
    job_id     integer PRIMARY KEY REFERENCES rota.job ON DELETE CASCADE,
    data       json NOT NULL,
    run_id     bigint NOT NULL,
    written_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200);

-- ---- who serves a handler, and since when nobody does ----

CREATE TABLE rota.handler (
    name           text PRIMARY KEY,
    last_served_at timestamptz NOT NULL
);

CREATE FUNCTION rota.handler_seen() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO rota.handler AS h (name, last_served_at)
    SELECT DISTINCT w.name, CASE WHEN TG_OP = 'DELETE' THEN OLD.renewed_at ELSE now() END
      FROM unnest(OLD.handlers) AS w(name)
     ORDER BY w.name
    ON CONFLICT (name) DO UPDATE SET last_served_at = greatest(h.last_served_at, excluded.last_served_at);
    RETURN NULL;
END $$;
CREATE TRIGGER incarnation_handlers AFTER DELETE OR UPDATE OF handlers ON rota.incarnation
    FOR EACH ROW EXECUTE FUNCTION rota.handler_seen();

-- ---- pauses and lanes: what is held ----

ALTER TABLE rota.fleet ADD COLUMN paused boolean NOT NULL DEFAULT false;

CREATE TABLE rota.source_pause (
    source    text PRIMARY KEY,
    paused_at timestamptz NOT NULL DEFAULT now()
);

-- The sign of trigger_due.route says whether it is about a lane; there is no row for the negative.
ALTER TABLE rota.trigger_due
    DROP CONSTRAINT trigger_due_route_fkey,
    ADD COLUMN lane bigint,           -- NULL: its job has no limit
    ADD COLUMN final_at timestamptz,  -- the last occurrence of all; NULL: no end is set
    ADD COLUMN error_run bigint,      -- the run whose failure put it in error
    ADD COLUMN paused_at timestamptz, -- while it is paused
    ADD COLUMN pass_from timestamptz, -- occurrences from here on
    ADD COLUMN pass_until timestamptz, -- and before this fell while it was paused: they are passed over
    ADD CONSTRAINT trigger_due_lane CHECK ((route < 0) = (lane IS NOT NULL)),
    ADD CONSTRAINT trigger_due_blocked CHECK (state <> 'B' OR lane IS NOT NULL);
CREATE INDEX trigger_due_lane ON rota.trigger_due (lane, next_at) WHERE lane IS NOT NULL AND state = 'W';
CREATE INDEX trigger_due_blocked ON rota.trigger_due (lane, route, next_at) WHERE state = 'B';

ALTER TABLE rota.pending
    ADD COLUMN lane bigint,
    ADD COLUMN held "char" CHECK (held IN ('P', 'L')), -- its job is paused, its lane is full
    ADD COLUMN held_due timestamptz,                   -- when it was due, while it is held
    ADD COLUMN made_up boolean NOT NULL DEFAULT false, -- by the misfire policy: paced for the whole fleet
    ADD CONSTRAINT pending_held CHECK ((held IS NULL) = (held_due IS NULL) AND (held IS NULL OR due = 'infinity')),
    ADD CONSTRAINT pending_lane CHECK ((route < 0) = (lane IS NOT NULL));
CREATE INDEX pending_lane ON rota.pending (lane, due) WHERE lane IS NOT NULL AND held IS NULL;
CREATE INDEX pending_parked ON rota.pending (lane, route, held_due) WHERE held = 'L';
CREATE INDEX pending_made_up ON rota.pending (due) WHERE made_up;
CREATE INDEX pending_paused ON rota.pending (job_id) WHERE held = 'P';

ALTER TABLE rota.receipt ADD COLUMN laned boolean NOT NULL DEFAULT false; -- lane runs and plain runs never share one
ALTER TABLE rota.receipt ADD COLUMN made_up boolean[]; -- NULL: none of them
ALTER TABLE rota.task_history ADD COLUMN misfired boolean NOT NULL DEFAULT false; -- made up for by the misfire policy
CREATE INDEX receipt_laned ON rota.receipt (incarnation) WHERE laned;

-- A place in a lane, taken by a claimed run: what makes an overlap impossible.
CREATE TABLE rota.lane_slot (
    lane     bigint NOT NULL,
    slot     integer NOT NULL CHECK (slot >= 1),
    job_id   integer NOT NULL,
    run_id   bigint NOT NULL,
    fence    bigint NOT NULL,
    taken_at timestamptz NOT NULL DEFAULT now(),
    adopted  boolean NOT NULL DEFAULT false, -- for a run claimed without: the sweep frees it
    PRIMARY KEY (lane, slot)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500,
        autovacuum_vacuum_cost_delay = 0);
CREATE INDEX lane_slot_run ON rota.lane_slot (run_id);

-- ---- lanes ----

-- What a JSON pointer (RFC 6901) names in the data of a run: the run's own over its trigger's over its
-- job's, of which the first that has the outermost key counts. NULL: nothing.
CREATE FUNCTION rota.lane_value(pointer text, run_data json, trigger_data json, job_data json) RETURNS text
LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    path text[] := ARRAY(SELECT replace(replace(p.step, '~1', '/'), '~0', '~')
                           FROM unnest(string_to_array(substr(pointer, 2), '/')) WITH ORDINALITY AS p(step, place)
                          ORDER BY p.place);
BEGIN
    IF json_typeof(run_data) = 'object' AND run_data -> path[1] IS NOT NULL THEN
        RETURN run_data #>> path;
    ELSIF json_typeof(trigger_data) = 'object' AND trigger_data -> path[1] IS NOT NULL THEN
        RETURN trigger_data #>> path;
    END IF;
    RETURN job_data #>> path;
END $$;

-- The lane of a value of the key; runs without one share a lane. Also the key of its advisory lock.
CREATE FUNCTION rota.lane_of(job integer, value text) RETURNS bigint
LANGUAGE sql IMMUTABLE AS $$
    SELECT hashtextextended('rota.lane/' || job || coalesce('/' || value, ''), 0)
$$;

-- The lane of a run as its job is defined now; NULL if it has none.
CREATE FUNCTION rota.run_lane(job integer, trigger integer, run_data json) RETURNS bigint
LANGUAGE sql STABLE AS $$
    SELECT rota.lane_of(j.id, CASE WHEN j.lane_key IS NOT NULL
                                   THEN rota.lane_value(j.lane_key, run_data, t.data, j.data) END)
      FROM rota.job j LEFT JOIN rota.trigger t ON t.id = run_lane.trigger
     WHERE j.id = run_lane.job AND j.lane_limit IS NOT NULL
$$;

-- Locks those of the lanes that nobody else has just now, until the end of the transaction.
CREATE FUNCTION rota.lane_try(wanted bigint[]) RETURNS bigint[]
LANGUAGE plpgsql AS $$
DECLARE
    mine bigint[] := '{}';
    one bigint;
BEGIN
    FOR one IN SELECT DISTINCT w.lane FROM unnest(wanted) AS w(lane) ORDER BY 1 LOOP
        IF pg_try_advisory_xact_lock(one) THEN
            mine := mine || one;
        END IF;
    END LOOP;
    RETURN mine;
END $$;

-- The same, and tells which of their slots are free. A lane that is not among the answers is to be asked
-- for again.
CREATE FUNCTION rota.lane_rooms(wanted bigint[], limits integer[]) RETURNS TABLE (lane bigint, slots integer[])
LANGUAGE plpgsql AS $$
DECLARE
    mine bigint[] := rota.lane_try(wanted);
BEGIN
    RETURN QUERY -- a statement of its own: it sees what was committed before the locks were had
    SELECT m.lane,
           ARRAY(SELECT n.slot FROM generate_series(1, least(m.lane_limit, m.used + 300)) AS n(slot)
                  WHERE NOT EXISTS (SELECT FROM rota.lane_slot s WHERE s.lane = m.lane AND s.slot = n.slot)
                  ORDER BY n.slot
                  LIMIT greatest(0, least(300, m.lane_limit - m.used)))
      FROM (SELECT w.lane, max(w.lane_limit) AS lane_limit,
                   (SELECT count(*)::integer FROM rota.lane_slot s WHERE s.lane = w.lane) AS used
              FROM unnest(wanted, limits) AS w(lane, lane_limit)
             WHERE w.lane = ANY (mine) GROUP BY w.lane) m;
END $$;

-- Wakes as many of those who wait for the lanes as fit: runs and triggers in one order of rank, the due
-- time less a minute for each step of priority. Within a route rank is the order of the due times, so that
-- the heads of a lane's routes are all there is to compare. Returns how many.
CREATE FUNCTION rota.lane_wake(lanes bigint[]) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    one bigint;
    woken bigint;
BEGIN
    FOR one IN SELECT DISTINCT l.lane FROM unnest(lanes) AS l(lane) ORDER BY 1 LOOP
        PERFORM pg_advisory_xact_lock(one);
    END LOOP;
    WITH waiting AS MATERIALIZED ( -- all of a lane are of one job, which may be deleted by now
        SELECT l.lane, coalesce(
                   (SELECT p.job_id FROM rota.pending p WHERE p.lane = l.lane AND p.held = 'L' ORDER BY p.route LIMIT 1),
                   (SELECT t.job_id FROM rota.trigger t
                     WHERE t.id = (SELECT d.trigger_id FROM rota.trigger_due d
                                    WHERE d.lane = l.lane AND d.state = 'B' ORDER BY d.route LIMIT 1))) AS job_id
          FROM (SELECT DISTINCT u.lane FROM unnest(lanes) AS u(lane)) l
    ), lane AS MATERIALIZED (
        SELECT w.lane, least(100, coalesce((SELECT j.lane_limit FROM rota.job j WHERE j.id = w.job_id), 100)
                                  - (SELECT count(*) FROM rota.lane_slot s WHERE s.lane = w.lane)) AS room
          FROM waiting w WHERE w.job_id IS NOT NULL
    ), run AS MATERIALIZED (
        SELECT l.lane, l.room, h.id, h.held_due - r.priority * interval '1 minute' AS rank
          FROM lane l
               CROSS JOIN LATERAL (
               WITH RECURSIVE head AS (
                   (SELECT p.route FROM rota.pending p WHERE p.lane = l.lane AND p.held = 'L' ORDER BY p.route LIMIT 1)
                   UNION ALL
                   SELECT n.route FROM head k CROSS JOIN LATERAL (
                          SELECT p.route FROM rota.pending p
                           WHERE p.lane = l.lane AND p.held = 'L' AND p.route > k.route ORDER BY p.route LIMIT 1) n)
               SELECT k.route FROM head k) w
               JOIN rota.route r ON r.id = -w.route
               CROSS JOIN LATERAL (
               SELECT p.id, p.held_due FROM rota.pending p
                WHERE p.lane = l.lane AND p.held = 'L' AND p.route = w.route
                ORDER BY p.held_due LIMIT l.room FOR UPDATE SKIP LOCKED) h
         WHERE l.room > 0
    ), trigger AS MATERIALIZED (
        SELECT l.lane, l.room, h.trigger_id AS id, h.next_at - r.priority * interval '1 minute' AS rank
          FROM lane l
               CROSS JOIN LATERAL (
               WITH RECURSIVE head AS (
                   (SELECT d.route FROM rota.trigger_due d WHERE d.lane = l.lane AND d.state = 'B' ORDER BY d.route LIMIT 1)
                   UNION ALL
                   SELECT n.route FROM head k CROSS JOIN LATERAL (
                          SELECT d.route FROM rota.trigger_due d
                           WHERE d.lane = l.lane AND d.state = 'B' AND d.route > k.route ORDER BY d.route LIMIT 1) n)
               SELECT k.route FROM head k) w
               JOIN rota.route r ON r.id = -w.route
               CROSS JOIN LATERAL (
               SELECT d.trigger_id, d.next_at FROM rota.trigger_due d
                WHERE d.lane = l.lane AND d.state = 'B' AND d.route = w.route AND NOT d.paused
                ORDER BY d.next_at LIMIT l.room FOR UPDATE SKIP LOCKED) h
         WHERE l.room > 0
    ), chosen AS MATERIALIZED (
        SELECT w.kind, w.id
          FROM (SELECT a.*, row_number() OVER (PARTITION BY a.lane ORDER BY a.rank, a.kind, a.id) AS place
                  FROM (SELECT 'p' AS kind, run.* FROM run UNION ALL SELECT 't', trigger.* FROM trigger) a) w
         WHERE w.place <= w.room
    ), runs AS (
        UPDATE rota.pending p SET due = p.held_due, held = NULL, held_due = NULL
         WHERE p.id = ANY (ARRAY(SELECT c.id FROM chosen c WHERE c.kind = 'p')) AND p.held = 'L'
        RETURNING 1
    ), triggers AS (
        UPDATE rota.trigger_due d SET state = 'W'
         WHERE d.trigger_id = ANY (ARRAY(SELECT c.id::integer FROM chosen c WHERE c.kind = 't')) AND d.state = 'B'
        RETURNING 1
    )
    SELECT (SELECT count(*) FROM runs) + (SELECT count(*) FROM triggers) INTO woken;
    IF woken > 0 THEN
        PERFORM pg_notify('rota.wake', 'lane');
    END IF;
    RETURN woken;
END $$;

-- Gives back the slots of runs that have left their receipts, under these fences, and wakes who waits.
CREATE FUNCTION rota.lane_release(runs bigint[], fences bigint[]) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    lanes bigint[];
BEGIN
    WITH gone AS (
        DELETE FROM rota.lane_slot s USING unnest(runs, fences) AS o(run_id, fence)
         WHERE s.run_id = o.run_id AND s.fence = o.fence
        RETURNING s.lane
    )
    SELECT array_agg(DISTINCT g.lane) INTO lanes FROM gone g;
    RETURN CASE WHEN lanes IS NULL THEN 0 ELSE rota.lane_wake(lanes) END;
END $$;

-- For the leader: wakes lanes that have room, somebody who waits, and nobody on his way; frees slots whose
-- runs are out no more; releases what was held for a pause that was taken back beside it. Returns the
-- counts, which are zero unless an event was lost. It waits for nobody: its session renews a lease.
CREATE FUNCTION rota.lane_sweep() RETURNS TABLE (freed bigint, woken bigint, released bigint)
LANGUAGE plpgsql AS $$
DECLARE
    lost bigint[];
    lost_fences bigint[];
    idle bigint[];
BEGIN
    WITH slot AS MATERIALIZED (
        SELECT s.lane, s.run_id, s.fence, s.adopted
          FROM rota.lane_slot s WHERE s.adopted OR s.taken_at < now() - interval '5 s'
    ), run AS MATERIALIZED ( -- each receipt is unpacked once
        SELECT r.fence, u.id
          FROM rota.receipt r CROSS JOIN LATERAL unnest(r.ids) WITH ORDINALITY AS u(id, place)
         WHERE r.fence = ANY (ARRAY(SELECT DISTINCT s.fence FROM slot s)) AND get_bit(r.open, (u.place - 1)::integer) = 1
    ), empty AS MATERIALIZED (
        SELECT s.* FROM slot s WHERE NOT EXISTS (SELECT FROM run WHERE run.fence = s.fence AND run.id = s.run_id)
    ), mine AS MATERIALIZED (
        SELECT rota.lane_try(array_agg(e.lane)) AS lanes FROM empty e
    )
    SELECT array_agg(e.run_id), array_agg(e.fence), count(*) FILTER (WHERE NOT e.adopted)
      INTO lost, lost_fences, freed
      FROM empty e WHERE e.lane = ANY (ARRAY(SELECT unnest(m.lanes) FROM mine m));
    woken := 0;
    IF lost IS NOT NULL THEN
        PERFORM rota.lane_release(lost, lost_fences);
    END IF;
    WITH RECURSIVE parked AS ( -- each lane once, however many wait in it
        (SELECT p.lane, p.job_id FROM rota.pending p WHERE p.held = 'L' ORDER BY p.lane LIMIT 1)
        UNION ALL
        SELECT n.lane, n.job_id FROM parked k CROSS JOIN LATERAL (
               SELECT p.lane, p.job_id FROM rota.pending p
                WHERE p.lane > k.lane AND p.held = 'L' ORDER BY p.lane LIMIT 1) n
    ), blocked AS (
        (SELECT d.lane, d.trigger_id FROM rota.trigger_due d
          WHERE d.state = 'B' AND NOT d.paused ORDER BY d.lane LIMIT 1)
        UNION ALL
        SELECT n.lane, n.trigger_id FROM blocked k CROSS JOIN LATERAL (
               SELECT d.lane, d.trigger_id FROM rota.trigger_due d
                WHERE d.lane > k.lane AND d.state = 'B' AND NOT d.paused ORDER BY d.lane LIMIT 1) n
    ), waiting AS (
        SELECT k.lane, k.job_id FROM parked k
        UNION SELECT b.lane, t.job_id FROM blocked b JOIN rota.trigger t ON t.id = b.trigger_id
    )
    SELECT array_agg(w.lane) INTO idle
      FROM waiting w LEFT JOIN rota.job j ON j.id = w.job_id
     WHERE (SELECT count(*) FROM rota.lane_slot s WHERE s.lane = w.lane) < coalesce(j.lane_limit, 2147483647)
       AND NOT EXISTS (SELECT FROM rota.pending p WHERE p.lane = w.lane AND p.held IS NULL AND p.due <= now())
       AND NOT EXISTS (SELECT FROM rota.trigger_due d
                        WHERE d.lane = w.lane AND d.state = 'W' AND d.next_at <= now() AND NOT d.paused);
    IF idle IS NOT NULL THEN
        woken := woken + rota.lane_wake(rota.lane_try(idle));
    END IF;
    released := rota.pause_sweep();
    RETURN NEXT;
END $$;

-- After a change of jobs that have or had a limit: what waits moves to its lane of now, everybody tries
-- again, and runs that are out already take their place in it, be it beyond the limit.
CREATE FUNCTION rota.lanes_changed(names text[]) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    jobs integer[] := ARRAY(SELECT j.id FROM rota.job j WHERE j.name = ANY (names));
BEGIN
    UPDATE rota.trigger_due d
       SET lane = w.lane, route = CASE WHEN w.lane IS NULL THEN abs(d.route) ELSE -abs(d.route) END,
           state = CASE d.state WHEN 'B' THEN 'W' ELSE d.state END
      FROM (SELECT t.id, rota.run_lane(t.job_id, t.id, NULL) AS lane FROM rota.trigger t WHERE t.job_id = ANY (jobs)) w
     WHERE d.trigger_id = w.id AND (d.lane IS DISTINCT FROM w.lane OR d.state = 'B' OR (d.route < 0) <> (w.lane IS NOT NULL));
    UPDATE rota.pending p
       SET lane = w.lane, route = CASE WHEN w.lane IS NULL THEN abs(p.route) ELSE -abs(p.route) END,
           due = CASE p.held WHEN 'L' THEN p.held_due ELSE p.due END,
           held_due = CASE p.held WHEN 'L' THEN NULL ELSE p.held_due END,
           held = CASE p.held WHEN 'L' THEN NULL ELSE p.held END
      FROM (SELECT q.id, rota.run_lane(q.job_id, q.trigger_id, q.data) AS lane
              FROM rota.pending q WHERE q.job_id = ANY (jobs)) w
     WHERE p.id = w.id AND (p.lane IS DISTINCT FROM w.lane OR p.held = 'L' OR (p.route < 0) <> (w.lane IS NOT NULL));
    -- their numbers are beyond those that claims use, which may take places in the same lanes meanwhile
    INSERT INTO rota.lane_slot AS s (lane, slot, job_id, run_id, fence, adopted)
    SELECT x.lane, 1073741824 + (x.id % 1073741824)::integer, x.job_id, x.id, x.fence, true
      FROM (SELECT u.id, u.job_id, r.fence, rota.run_lane(u.job_id, u.trigger_id, u.data) AS lane
              FROM rota.receipt r CROSS JOIN LATERAL rota.receipt_runs(r) u
             WHERE r.job_ids && jobs AND u.job_id = ANY (jobs)) x
     WHERE x.lane IS NOT NULL
       AND NOT EXISTS (SELECT FROM rota.lane_slot o WHERE o.lane = x.lane AND o.run_id = x.id AND o.fence = x.fence)
    ON CONFLICT (lane, slot) DO UPDATE -- of an earlier claim of the run, not swept yet
       SET job_id = excluded.job_id, run_id = excluded.run_id, fence = excluded.fence, taken_at = now();
    PERFORM pg_notify('rota.wake', 'lane');
END $$;

-- ---- pauses ----

-- Makes the flags of jobs and triggers, and what waits of them, agree with what is paused by name.
-- jobs: their ids, NULL for all; catch_up: occurrences that fell meanwhile are not passed over;
-- everywhere: what the fleet's own flag becomes, NULL to leave it. The fleet's row comes last: a firing
-- that has a trigger's row, or its lane, may wait for it.
--
-- pass_from and pass_until are one stretch: when a trigger is paused again before a node has looked at
-- it, what lies between the two pauses is passed over with them.
CREATE FUNCTION rota.pause_settle(jobs integer[], catch_up boolean, everywhere boolean DEFAULT NULL) RETURNS bigint
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
     WHERE j.id = p.job_id AND j.held AND p.held IS DISTINCT FROM 'P' AND (jobs IS NULL OR p.job_id = ANY (jobs));
    UPDATE rota.pending p SET due = p.held_due, held = NULL, held_due = NULL
      FROM rota.job j
     WHERE j.id = p.job_id AND NOT j.held AND p.held = 'P' AND (jobs IS NULL OR p.job_id = ANY (jobs));
    IF lanes IS NOT NULL THEN
        PERFORM rota.lane_wake(lanes);
    END IF;
    UPDATE rota.fleet f -- nodes read the jobs again
       SET paused = coalesce(everywhere, f.paused), definition_revision = f.definition_revision + 1;
    PERFORM pg_notify('rota.wake', 'definitions');
    RETURN changed;
END $$;

-- Releases runs held for a pause that is over: whoever queued them, or put them back, saw it still, and
-- whoever took it back could not see them yet. Returns how many.
CREATE FUNCTION rota.pause_sweep() RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    done bigint;
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
        UPDATE rota.pending p SET due = p.held_due, held = NULL, held_due = NULL
         WHERE p.id = ANY (ARRAY(SELECT run.id FROM run)) AND p.held = 'P'
        RETURNING 1
    )
    SELECT count(*) INTO done FROM back;
    IF done > 0 THEN
        PERFORM pg_notify('rota.wake', 'lane'), pg_notify('rota.wake', '');
    END IF;
    RETURN done;
END $$;

-- What pause and resume have in common. Takes the lock of apply, which computes the same flags.
CREATE FUNCTION rota.pause_set(scope text, wanted_name text, wanted boolean, catch_up boolean) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    jobs integer[];
BEGIN
    IF scope IS NULL OR scope NOT IN ('trigger', 'job', 'source', 'all') THEN
        RAISE EXCEPTION 'cannot pause or resume "%": the scope is trigger, job, source or all', scope USING ERRCODE = '22023';
    ELSIF (wanted_name IS NULL OR wanted_name = '') <> (scope = 'all') THEN
        RAISE EXCEPTION 'the scope % goes %', scope, CASE scope WHEN 'all' THEN 'without a name' ELSE 'with a name' END
              USING ERRCODE = '22023';
    ELSIF NOT pg_try_advisory_xact_lock(hashtextextended('rota.apply', 0)) THEN
        RAISE EXCEPTION 'an apply, or another pause, is under way' USING ERRCODE = '55P03', HINT = 'Try again when it is over.';
    END IF;
    IF scope = 'trigger' THEN
        UPDATE rota.trigger t SET paused = wanted WHERE t.name = wanted_name RETURNING ARRAY[t.job_id] INTO jobs;
    ELSIF scope = 'job' THEN
        UPDATE rota.job j SET paused = wanted WHERE j.name = wanted_name RETURNING ARRAY[j.id] INTO jobs;
    ELSIF scope = 'source' THEN
        IF wanted THEN
            INSERT INTO rota.source_pause (source) VALUES (wanted_name) ON CONFLICT DO NOTHING;
        ELSE
            DELETE FROM rota.source_pause s WHERE s.source = wanted_name;
        END IF;
        IF wanted OR FOUND OR EXISTS (SELECT FROM rota.job j WHERE j.source = wanted_name) THEN
            jobs := ARRAY(SELECT j.id FROM rota.job j WHERE j.source = wanted_name);
        END IF;
    END IF;
    IF jobs IS NULL AND scope <> 'all' THEN
        RETURN NULL;
    END IF;
    RETURN rota.pause_settle(jobs, catch_up, CASE WHEN scope = 'all' THEN wanted END);
END $$;

-- Stops the triggers of a scope at once and holds its waiting runs; a trigger's pause stops the trigger
-- alone. scope: trigger, job, source, or all (name NULL). Applies to what is added later. Returns how
-- many triggers it stopped; NULL: there is no such trigger or job. 55P03: an apply is running.
CREATE FUNCTION rota.pause(scope text, name text DEFAULT NULL) RETURNS bigint
LANGUAGE sql VOLATILE AS $$
    SELECT rota.pause_set(pause.scope, pause.name, true, false)
$$;

-- The same back. What fell meanwhile is counted and passed over; catch_up: it meets the misfire policy.
-- What is paused by another name, too, stays so. NULL: no such trigger or job, nor source.
CREATE FUNCTION rota.resume(scope text, name text DEFAULT NULL, catch_up boolean DEFAULT false) RETURNS bigint
LANGUAGE sql VOLATILE AS $$
    SELECT rota.pause_set(resume.scope, resume.name, false, resume.catch_up)
$$;

-- ---- runs on their way back ----

-- The route of a run that goes back to pending: its job's handler of now, at the priority it has; whether
-- it belongs to a lane says who knows the lane, as a limit may come or go between two looks at the job.
CREATE FUNCTION rota.route_now(old_route integer, job integer, laned boolean) RETURNS integer
LANGUAGE sql VOLATILE AS $$
    SELECT CASE WHEN laned THEN -1 ELSE 1 END
           * coalesce((SELECT rota.route_of(j.handler, r.priority)
                         FROM rota.route r JOIN rota.job j ON j.id = job AND j.handler <> r.handler
                        WHERE r.id = abs(old_route)), abs(old_route))
$$;
DROP FUNCTION rota.route_now(integer, integer);

-- As in 0001, and: into their lanes of now, whose slots they give back; held if their jobs are paused.
CREATE OR REPLACE FUNCTION rota.put_back(mine integer, fences bigint[], slots integer[], delays_ms bigint[],
                                         more_attempts integer[], more_crashes integer[], recovering boolean[],
                                         entries jsonb[]) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    moved bigint;
    laned bigint;
    lane_runs bigint[];
    lane_fences bigint[];
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
               CASE WHEN w.delay_ms > 0 THEN now() + w.delay_ms * interval '1 ms' ELSE t.due END AS again,
               coalesce(j.held, false) AS job_held,
               CASE WHEN j.lane_limit IS NOT NULL THEN rota.run_lane(t.job_id, t.trigger_id, t.data) END AS lane
          FROM taken t JOIN wish w ON w.fence = t.fence AND w.slot = t.slot LEFT JOIN rota.job j ON j.id = t.job_id
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
                                  missed, recovering, data, checkpoint, earlier, lane, held, held_due, made_up)
        SELECT run.id, rota.route_now(run.route, run.job_id, run.lane IS NOT NULL), CASE WHEN run.job_held THEN 'infinity' ELSE run.again END,
               run.job_id, run.trigger_id, run.scheduled_at, run.enqueued_at, run.attempt + run.more_attempt,
               run.crashes + run.more_crash, run.missed, run.recovering OR run.now_recovering, run.data,
               run.checkpoint,
               CASE WHEN run.entry IS NULL THEN run.earlier ELSE rota.earlier_add(run.earlier, run.entry) END,
               run.lane, CASE WHEN run.job_held THEN 'P'::"char" END, CASE WHEN run.job_held THEN run.again END, run.made_up
          FROM run
        RETURNING lane
    )
    SELECT (SELECT count(*) FROM back), (SELECT count(b.lane) FROM back b),
           (SELECT array_agg(run.id) FROM run WHERE run.laned), (SELECT array_agg(run.fence) FROM run WHERE run.laned)
      INTO moved, laned, lane_runs, lane_fences;
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

-- As in 0001, but runs of lanes are left alone while the lease of their node holds: it may be cut off and
-- running them. Until then the incarnation stays and `waits` is true. The caller's session renews a lease:
-- whom it had to wait for longer (55P03), it leaves to the next try.
--
-- A clock that jumps would end leases before their time. believed: what time it is by a clock of the
-- caller's that nobody sets; steady: for how long that has agreed with ours, NULL for always. A restart of
-- the database may have lost the newest renewal: who came to it just now leaves them alone (`lanes` false).
DROP FUNCTION rota.recover(integer);
CREATE FUNCTION rota.recover(dead integer, believed timestamptz DEFAULT 'infinity', steady interval DEFAULT NULL,
                             lanes boolean DEFAULT true)
RETURNS TABLE (put_back bigint, lost bigint, waits boolean)
LANGUAGE plpgsql SET lock_timeout = '1s' AS $$
DECLARE
    dead_node text;
    lease_over boolean;
    lane_runs bigint[];
    lane_fences bigint[];
    laned bigint;
BEGIN
    SELECT i.node, lanes AND i.lease_until <= least(clock_timestamp(), believed)
                   AND (steady IS NULL OR i.lease_until - i.renewed_at <= steady)
      INTO dead_node, lease_over
      FROM rota.incarnation i WHERE i.id = dead FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    WITH taken AS MATERIALIZED (
        DELETE FROM rota.receipt r WHERE r.incarnation = dead AND (lease_over OR NOT r.laned) RETURNING r
    ), run AS MATERIALIZED (
        SELECT o.*, (t.r).fence AS fence, (t.r).claimed_at AS claimed_at, (t.r).laned AS laned,
               coalesce((t.r).made_up[o.slot + 1], false) AS made_up,
               j.name AS task, g.name AS trigger_name,
               coalesce(j.requests_recovery, o.trigger_id IS NULL) AS recover,
               o.attempt < j.max_attempts AS attempts_left, coalesce(j.held, false) AS job_held,
               CASE WHEN j.lane_limit IS NOT NULL THEN rota.run_lane(o.job_id, o.trigger_id, o.data) END AS lane,
               jsonb_build_object('attempt', o.attempt, 'node', dead_node, 'started_at', (t.r).claimed_at,
                                  'outcome', 'lost', 'message', 'the node died') AS entry
          FROM taken t CROSS JOIN LATERAL rota.receipt_runs(t.r) o
          LEFT JOIN rota.job j ON j.id = o.job_id
          LEFT JOIN rota.trigger g ON g.id = o.trigger_id
    ), back AS (
        INSERT INTO rota.pending (id, route, due, job_id, trigger_id, scheduled_at, enqueued_at, attempt, crashes,
                                  missed, recovering, data, checkpoint, earlier, lane, held, held_due, made_up)
        SELECT w.id, rota.route_now(w.route, w.job_id, w.lane IS NOT NULL), CASE WHEN w.job_held THEN 'infinity' ELSE now() END, w.job_id,
               w.trigger_id, w.scheduled_at, w.enqueued_at,
               CASE WHEN w.recover THEN w.attempt ELSE w.attempt + 1 END, w.crashes, w.missed, true, w.data,
               w.checkpoint, rota.earlier_add(w.earlier, w.entry),
               w.lane, CASE WHEN w.job_held THEN 'P'::"char" END, CASE WHEN w.job_held THEN now() END, w.made_up
          FROM run w WHERE w.recover OR w.attempts_left
        RETURNING lane
    ), over AS (
        INSERT INTO rota.task_history (id, task, trigger, started_at, ended_at, status, outcome, node, attempt,
                                       missed, scheduled_at, fence, task_details, misfired)
        SELECT w.id, coalesce(w.task, '(deleted job)'), w.trigger_name, w.claimed_at, now(), 'unknown', 'lost', dead_node,
               w.attempt, w.missed, w.scheduled_at, w.fence,
               jsonb_strip_nulls(jsonb_build_object('status', 'unknown', 'message',
                   'node ' || dead_node || ' died while it ran this', 'attempts', w.earlier))::json, w.made_up
          FROM run w WHERE NOT coalesce(w.recover OR w.attempts_left, false)
        RETURNING 1
    )
    SELECT (SELECT count(*) FROM back), (SELECT count(b.lane) FROM back b), (SELECT count(*) FROM over),
           (SELECT array_agg(w.id) FROM run w WHERE w.laned), (SELECT array_agg(w.fence) FROM run w WHERE w.laned)
      INTO put_back, laned, lost, lane_runs, lane_fences;
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

-- ---- what can be seen ----

-- A duration as manifests write it: 1h30m.
CREATE FUNCTION rota.duration_text(duration_us bigint) RETURNS text
LANGUAGE sql IMMUTABLE STRICT AS $$
    SELECT coalesce(nullif(concat(p.days || 'd', p.hours || 'h', p.minutes || 'm', p.seconds || 's', p.ms || 'ms'), ''), '0s')
      FROM (SELECT nullif(duration_us / 86400000000, 0) AS days, nullif(duration_us / 3600000000 % 24, 0) AS hours,
                   nullif(duration_us / 60000000 % 60, 0) AS minutes, nullif(duration_us / 1000000 % 60, 0) AS seconds,
                   nullif(duration_us / 1000 % 1000, 0) AS ms) p
$$;

-- Runs that are not over yet: waiting and started. held: why a due one waits, if not for a slot.
CREATE OR REPLACE VIEW rota.run AS
    SELECT p.id, 'pending'::text AS state, p.job_id, p.trigger_id, coalesce(p.held_due, p.due) AS due, p.scheduled_at,
           p.enqueued_at, p.attempt, p.missed, p.recovering, NULL::text AS node, NULL::timestamptz AS started_at,
           NULL::bigint AS fence, CASE p.held WHEN 'P' THEN 'paused' WHEN 'L' THEN 'lane' END AS held, p.lane,
           p.made_up AS misfired
      FROM rota.pending p
    UNION ALL
    SELECT o.id, 'started', o.job_id, o.trigger_id, o.due, o.scheduled_at, o.enqueued_at, o.attempt, o.missed,
           o.recovering, i.node, r.claimed_at, r.fence, NULL,
           CASE WHEN r.laned THEN (SELECT s.lane FROM rota.lane_slot s WHERE s.run_id = o.id AND s.fence = r.fence LIMIT 1) END,
           coalesce(r.made_up[o.slot + 1], false)
      FROM rota.receipt r JOIN rota.incarnation i ON i.id = r.incarnation
           CROSS JOIN LATERAL rota.receipt_runs(r) o;

CREATE OR REPLACE VIEW rota.task AS
    SELECT r.id, j.name AS task, NULL::integer AS db_id, r.started_at, NULL::timestamptz AS ended_at,
           NULL::bigint AS duration, NULL::json AS task_details, 'started'::text AS status, NULL::json AS logs,
           NULL::text AS outcome, r.node, r.attempt, r.scheduled_at, t.name AS trigger, r.missed, r.misfired
      FROM rota.run r JOIN rota.job j ON j.id = r.job_id LEFT JOIN rota.trigger t ON t.id = r.trigger_id
     WHERE r.state = 'started'
    UNION ALL
    SELECT h.id, h.task, NULL, h.started_at, h.ended_at, h.duration_ms, h.task_details, h.status, NULL, h.outcome,
           h.node, h.attempt, h.scheduled_at, h.trigger, h.missed, h.misfired
      FROM rota.task_history h;

CREATE OR REPLACE VIEW rota.trigger_state AS
    SELECT t.name AS trigger, j.name AS job, j.source, t.kind,
           coalesce(t.cron, to_char(t.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
                    'every ' || coalesce(rota.duration_text(t.every_us), t.calendar_interval,
                                         rota.duration_text(t.daily_every_us)
                                         || ' from ' || coalesce(t.daily_from, '00:00')
                                         || ' to ' || coalesce(t.daily_to, '24:00')
                                         || coalesce(' on ' || array_to_string(t.daily_days, ', '), ''))
                             || coalesce(', ' || t.repeat_count::numeric + 1 || ' times', '')) AS schedule,
           t.timezone,
           CASE d.state WHEN 'W' THEN 'waiting' WHEN 'B' THEN 'blocked' WHEN 'E' THEN 'error' ELSE 'complete' END AS state,
           d.paused, d.next_at, d.previous_at, d.fired, d.missed, d.misfired, d.error, d.error_at, t.start_at, t.end_at,
           coalesce(t.priority, j.priority) AS priority, j.handler,
           EXISTS (SELECT FROM rota.incarnation i WHERE j.handler = ANY (i.handlers)) AS served,
           CASE WHEN NOT EXISTS (SELECT FROM rota.incarnation i WHERE j.handler = ANY (i.handlers))
                THEN coalesce((SELECT h.last_served_at FROM rota.handler h WHERE h.name = j.handler), j.changed_at)
           END AS unserved_since,
           CASE WHEN NOT d.paused THEN '{}'::text[]
                ELSE array_remove(ARRAY[CASE WHEN f.paused THEN 'all' END,
                                        CASE WHEN EXISTS (SELECT FROM rota.source_pause s WHERE s.source = j.source) THEN 'source' END,
                                        CASE WHEN j.paused THEN 'job' END,
                                        CASE WHEN t.paused THEN 'trigger' END], NULL) END AS paused_by,
           d.paused_at, t.calendar, d.lane, d.final_at
      FROM rota.trigger t JOIN rota.job j ON j.id = t.job_id JOIN rota.trigger_due d ON d.trigger_id = t.id
           CROSS JOIN rota.fleet f;

-- Lanes that are in use, or waited for.
CREATE VIEW rota.lane_state AS
    WITH used AS (
        SELECT s.lane, s.job_id, s.run_id AS running, NULL::bigint AS parked, NULL::integer AS blocked,
               s.taken_at AS since, r.trigger_id, r.data
          FROM rota.lane_slot s LEFT JOIN LATERAL (
               SELECT o.trigger_id, o.data FROM rota.receipt c CROSS JOIN LATERAL rota.receipt_runs(c) o
                WHERE c.fence = s.fence AND o.id = s.run_id) r ON true
        UNION ALL
        SELECT p.lane, p.job_id, NULL, p.id, NULL, p.held_due, p.trigger_id, p.data
          FROM rota.pending p WHERE p.lane IS NOT NULL AND p.held = 'L'
        UNION ALL
        SELECT d.lane, t.job_id, NULL, NULL, d.trigger_id, d.next_at, d.trigger_id, NULL
          FROM rota.trigger_due d JOIN rota.trigger t ON t.id = d.trigger_id WHERE d.lane IS NOT NULL AND d.state = 'B'
    )
    SELECT u.lane, j.name AS job, j.source, j.lane_limit AS "limit",
           min(CASE WHEN j.lane_key IS NOT NULL THEN rota.lane_value(j.lane_key, u.data, t.data, j.data) END) AS key,
           count(u.running) AS running, count(u.parked) AS parked, count(u.blocked) AS blocked,
           coalesce(array_agg(u.running ORDER BY u.running) FILTER (WHERE u.running IS NOT NULL), '{}') AS runs,
           min(u.since) FILTER (WHERE u.running IS NOT NULL) AS busy_since,
           min(u.since) FILTER (WHERE u.running IS NULL) AS waiting_since
      FROM used u LEFT JOIN rota.job j ON j.id = u.job_id LEFT JOIN rota.trigger t ON t.id = u.trigger_id
     GROUP BY u.lane, u.job_id, j.name, j.source, j.lane_limit;

INSERT INTO rota.schema_version (version, name, needs) VALUES (2, '0002_trigger_engine', 1);
