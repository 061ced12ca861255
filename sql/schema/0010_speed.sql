-- What bulk work and claims need to be fast: bundles, and receipts that say once what is the same for all.

-- ---- receipts ----

-- What all runs of a receipt have in common stands there once, and what nothing is to be said of not at all:
-- the array is NULL then. Of one that is NULL the runs are as new ones: first attempt, no crashes, no
-- checkpoint, due when they were scheduled.
ALTER TABLE rota.receipt
    ADD COLUMN route_all    integer,
    ADD COLUMN due_all      timestamptz,
    ADD COLUMN job_all      integer,
    ADD COLUMN enqueued_all timestamptz,
    ALTER COLUMN routes DROP NOT NULL,
    ALTER COLUMN dues DROP NOT NULL,
    ALTER COLUMN job_ids DROP NOT NULL,
    ALTER COLUMN trigger_ids DROP NOT NULL,
    ALTER COLUMN scheduled_at DROP NOT NULL,
    ALTER COLUMN enqueued_at DROP NOT NULL,
    ALTER COLUMN attempts DROP NOT NULL,
    ALTER COLUMN crashes DROP NOT NULL,
    ALTER COLUMN missed DROP NOT NULL,
    ALTER COLUMN recovering DROP NOT NULL,
    ALTER COLUMN data DROP NOT NULL,
    ALTER COLUMN checkpoints DROP NOT NULL,
    ALTER COLUMN earlier DROP NOT NULL,
    ADD CONSTRAINT receipt_whole CHECK (
        length(open) = cardinality(ids) AND num_nonnulls(route_all, routes) = 1 AND num_nonnulls(due_all, dues) = 1
        AND num_nonnulls(job_all, job_ids) = 1 AND num_nonnulls(enqueued_all, enqueued_at) = 1) NOT VALID;

-- As in 0001, of such receipts, too.
CREATE OR REPLACE FUNCTION rota.receipt_runs(r rota.receipt)
RETURNS TABLE (slot integer, id bigint, route integer, due timestamptz, job_id integer, trigger_id integer,
               scheduled_at timestamptz, enqueued_at timestamptz, attempt smallint, crashes smallint,
               missed integer, recovering boolean, data json, checkpoint json, earlier jsonb)
LANGUAGE sql STABLE AS $$
    SELECT (u.place - 1)::integer, u.id, coalesce(u.route, r.route_all), coalesce(u.due, r.due_all),
           coalesce(u.job_id, r.job_all), u.trigger_id, coalesce(u.scheduled_at, u.due, r.due_all),
           coalesce(u.enqueued_at, r.enqueued_all), coalesce(u.attempt, 1::smallint), coalesce(u.crashes, 0::smallint),
           coalesce(u.missed, 0), coalesce(u.recovering, false), u.data, u.checkpoint, u.earlier
      FROM unnest(r.ids, r.routes, r.dues, r.job_ids, r.trigger_ids, r.scheduled_at, r.enqueued_at, r.attempts,
                  r.crashes, r.missed, r.recovering, r.data, r.checkpoints, r.earlier)
           WITH ORDINALITY AS u(id, route, due, job_id, trigger_id, scheduled_at, enqueued_at, attempt, crashes,
                                missed, recovering, data, checkpoint, earlier, place)
     WHERE get_bit(r.open, (u.place - 1)::integer) = 1
$$;

-- ---- bundles ----

-- Runs that wait and differ in nothing but their ids and data: what was queued in bulk of a plain job. A claim
-- takes them by the bundle, `taken` first ones of which are gone already; whatever else is done to one of them,
-- or to their job, opens the bundle first: they are rows of pending then. So nothing else need know of bundles,
-- but what looks for a run by its id, counts, or lists.
CREATE TABLE rota.bundle (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    route       integer NOT NULL CHECK (route > 0),
    due         timestamptz NOT NULL,
    held_due    timestamptz, -- of a job that is paused: when it would be due; `due` is infinity then
    job_id      integer NOT NULL,
    enqueued_at timestamptz NOT NULL DEFAULT now(),
    size        integer NOT NULL CHECK (size > 0),
    taken       integer NOT NULL DEFAULT 0 CHECK (taken BETWEEN 0 AND size - 1),
    first_id    bigint NOT NULL,
    last_id     bigint NOT NULL,
    ids         bigint[] NOT NULL,
    data        json[], -- NULL: none has any
    CONSTRAINT bundle_shape CHECK (size = cardinality(ids) AND size = coalesce(cardinality(data), size) AND first_id <= last_id),
    CONSTRAINT bundle_held CHECK ((held_due IS NOT NULL) = (due = 'infinity'))
) WITH (fillfactor = 90, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 200,
        autovacuum_vacuum_insert_scale_factor = 0.2, autovacuum_vacuum_cost_delay = 0, -- as pending, a hundredth of its rows
        toast.autovacuum_vacuum_scale_factor = 0.02, toast.autovacuum_vacuum_threshold = 1000,
        toast.autovacuum_vacuum_cost_delay = 0);
-- One claim and it is gone: packing and unpacking would cost more than the bytes.
ALTER TABLE rota.bundle ALTER COLUMN ids SET STORAGE EXTERNAL, ALTER COLUMN data SET STORAGE EXTERNAL;
ALTER TABLE rota.receipt ALTER COLUMN ids SET STORAGE EXTERNAL, ALTER COLUMN data SET STORAGE EXTERNAL;
CREATE INDEX bundle_claim ON rota.bundle (route, due);
CREATE INDEX bundle_job ON rota.bundle (job_id);
CREATE INDEX bundle_paused ON rota.bundle (job_id) WHERE held_due IS NOT NULL;
CREATE INDEX bundle_runs ON rota.bundle USING gist (int8range(first_id, last_id, '[]'));

-- How many runs a bundle has at most: a share of what a claim takes.
CREATE FUNCTION rota.bundle_size() RETURNS integer LANGUAGE sql IMMUTABLE AS $$ SELECT 100 $$;

-- The runs that are left in a bundle.
CREATE FUNCTION rota.bundle_rest(b rota.bundle) RETURNS TABLE (id bigint, data json)
LANGUAGE sql IMMUTABLE AS $$
    SELECT u.id, u.data FROM unnest(b.ids, b.data) WITH ORDINALITY AS u(id, data, place) WHERE u.place > b.taken
$$;

-- The bundle a run waits in; NULL: none.
CREATE FUNCTION rota.bundle_of(run bigint) RETURNS bigint
LANGUAGE sql STABLE AS $$
    SELECT b.id FROM rota.bundle b
     WHERE int8range(b.first_id, b.last_id, '[]') @> run AND run = ANY (b.ids[b.taken + 1 :]) LIMIT 1
$$;

-- Makes rows of pending of them. Who claims one of them just now is waited for. Returns how many runs.
CREATE FUNCTION rota.bundles_open(bundles bigint[]) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    opened bigint;
BEGIN
    PERFORM FROM rota.bundle b WHERE b.id = ANY (bundles) ORDER BY b.id FOR UPDATE;
    WITH gone AS MATERIALIZED (
        DELETE FROM rota.bundle b WHERE b.id = ANY (bundles) RETURNING b
    )
    INSERT INTO rota.pending (id, route, due, job_id, scheduled_at, enqueued_at, data, held, held_due)
    SELECT o.id, (g.b).route, (g.b).due, (g.b).job_id, coalesce((g.b).held_due, (g.b).due), (g.b).enqueued_at, o.data,
           CASE WHEN (g.b).held_due IS NOT NULL THEN 'P'::"char" END, (g.b).held_due
      FROM gone g CROSS JOIN LATERAL rota.bundle_rest(g.b) o;
    GET DIAGNOSTICS opened = ROW_COUNT;
    RETURN opened;
END $$;

-- Opens what these runs wait in. patient: who claims one of them just now is waited for; otherwise that one is
-- passed over.
CREATE FUNCTION rota.bundles_open_runs(runs bigint[], patient boolean DEFAULT true) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    found bigint[];
BEGIN
    IF NOT EXISTS (SELECT FROM rota.bundle) THEN
        RETURN 0;
    END IF;
    found := ARRAY(SELECT DISTINCT b.id FROM unnest(runs) AS r(id) CROSS JOIN LATERAL (SELECT rota.bundle_of(r.id) AS id) b
                    WHERE b.id IS NOT NULL);
    IF NOT patient THEN
        found := ARRAY(SELECT b.id FROM rota.bundle b WHERE b.id = ANY (found) FOR UPDATE SKIP LOCKED);
    END IF;
    RETURN CASE WHEN cardinality(found) = 0 THEN 0 ELSE rota.bundles_open(found) END;
END $$;

-- Opens all of these jobs.
CREATE FUNCTION rota.bundles_open_jobs(jobs integer[]) RETURNS bigint
LANGUAGE sql VOLATILE AS $$
    SELECT rota.bundles_open(ARRAY(SELECT b.id FROM rota.bundle b WHERE b.job_id = ANY (jobs)))
$$;

-- ---- nodes that know none ----

-- The newest migration a node's binary knows; NULL: one from before this.
ALTER TABLE rota.incarnation ADD COLUMN knows integer;

-- A node of an earlier release sees rows only: all bundles are opened while one is there, and none are made. As
-- many with each of its heartbeats as do not delay these.
CREATE FUNCTION rota.bundles_unknown() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM rota.bundle) THEN
        PERFORM rota.bundles_open(ARRAY(SELECT b.id FROM rota.bundle b ORDER BY b.due LIMIT 250 FOR UPDATE SKIP LOCKED));
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER bundles_unknown AFTER INSERT OR UPDATE ON rota.incarnation
    FOR EACH ROW WHEN (NEW.knows IS NULL) EXECUTE FUNCTION rota.bundles_unknown();

-- ---- enqueueing ----

-- As in 0006, and: what is queued in bulk, and is alike, goes into bundles.
CREATE OR REPLACE FUNCTION rota.enqueue_runs(job text, data json[], run_at timestamptz, priority integer, keys text[], on_conflict text,
                                  after bigint[], after_any boolean, expires_in interval, traceparent text, watched boolean,
                                  full_too boolean DEFAULT false)
RETURNS TABLE (run_id bigint, conflict text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    j record;
    due timestamptz := coalesce(run_at, now());
    new_route integer;
    ids bigint[];
    expires timestamptz;
    mode text := on_conflict;
    known record;
    chosen bigint[];
    conflicts text[];
    inserted bigint[];
    bodies json[];
    is_extra boolean;
    hold "char";
    buckets bigint[];
BEGIN
    SELECT k.id, k.handler, k.priority, k.held, k.lane_limit, k.max_pending, k.expires_in_ms, k.rate_limit, k.unique_key,
           k.unique_until, k.unique_for_ms, k.unique_conflict, k.data,
           (coalesce(k.requests_recovery, true) OR k.max_attempts > 1) AND NOT k.persist_data AS alike -- else each is claimed alone
      INTO j FROM rota.job k WHERE k.name = enqueue_runs.job;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no job is called "%"', enqueue_runs.job USING ERRCODE = '22023', HINT = 'rota get jobs lists them.';
    ELSIF priority NOT BETWEEN 1 AND 100 THEN
        RAISE EXCEPTION 'priority % is refused: it is a number from 1 to 100', priority USING ERRCODE = '22023';
    ELSIF mode IS NOT NULL AND mode NOT IN ('reject', 'existing', 'replace', 'keep_time') THEN
        RAISE EXCEPTION 'on_conflict "%" is refused: write reject, existing, replace or keep_time', mode USING ERRCODE = '22023';
    ELSIF due < '1970-01-01 00:00:00+00' OR due >= '10000-01-01 00:00:00+00' THEN -- what is reckoned from it is a time, too
        RAISE EXCEPTION 'run_at must be a time from 1970 to 9999, not %', due USING ERRCODE = '22023';
    ELSIF expires_in <= interval '0' THEN
        RAISE EXCEPTION 'expires_in must be longer than nothing' USING ERRCODE = '22023';
    END IF;
    data := coalesce(data, '{}');
    PERFORM FROM unnest(enqueue_runs.data) AS d(one)
      WHERE octet_length(d.one::text) > 262144 OR coalesce(json_typeof(d.one), 'object') <> 'object';
    IF FOUND THEN
        RAISE EXCEPTION 'the data of a run must be a JSON object of at most 262144 bytes' USING ERRCODE = '22023',
              HINT = 'Pass a reference to what is larger.';
    END IF;
    new_route := rota.route_of(j.handler, coalesce(priority, j.priority)::smallint);
    expires := due + coalesce(expires_in, j.expires_in_ms * interval '1 ms');
    is_extra := expires IS NOT NULL OR traceparent IS NOT NULL OR coalesce(watched, false);
    ids := ARRAY(SELECT nextval('rota.run_id') FROM generate_series(1, cardinality(enqueue_runs.data)));
    chosen := ids;
    conflicts := array_fill(NULL::text, ARRAY[cardinality(ids)]);
    inserted := ids;
    bodies := enqueue_runs.data;

    IF keys IS NULL AND j.unique_key IS NOT NULL THEN
        PERFORM d.one -> '' FROM unnest(enqueue_runs.data) AS d(one); -- 22P05, 22P02: no key is read from what cannot be read
        keys := ARRAY(SELECT CASE WHEN length(v.key) > 254 THEN md5(v.key) ELSE nullif(v.key, '') END
                        FROM unnest(enqueue_runs.data) WITH ORDINALITY AS d(one, place)
                             CROSS JOIN LATERAL (SELECT CASE WHEN j.unique_key = '' THEN md5(coalesce(d.one, '{}')::jsonb::text)
                                                             ELSE rota.lane_value(j.unique_key, d.one, NULL, j.data) END AS key) v
                       ORDER BY d.place);
    ELSIF keys IS NULL AND mode IS NOT NULL THEN
        RAISE EXCEPTION 'on_conflict "%" says what to do about a key, and there is none', mode
              USING ERRCODE = '22023', HINT = 'Give a key, or declare "unique" with a key for the job.';
    END IF;
    IF keys IS NOT NULL THEN
        IF cardinality(keys) <> cardinality(ids) THEN
            RAISE EXCEPTION '% keys were given for % runs', cardinality(keys), cardinality(ids) USING ERRCODE = '22023';
        ELSIF EXISTS (SELECT FROM unnest(keys) AS k(key) WHERE length(k.key) NOT BETWEEN 1 AND 254) THEN
            RAISE EXCEPTION 'a key has 1 to 254 characters' USING ERRCODE = '22023';
        END IF;
        mode := coalesce(mode, j.unique_conflict, 'reject');
        IF after IS NOT NULL AND mode IN ('replace', 'keep_time') THEN
            RAISE EXCEPTION '"after" and on_conflict "%" exclude each other: what a queued run waits for is not replaced', mode
                  USING ERRCODE = '22023';
        END IF;
        -- one of each key stands for all with it: the first, or the last where it replaces
        SELECT array_agg(w.key) AS keys, array_agg(w.id) AS runs, array_agg(w.one) AS data INTO known
          FROM (SELECT DISTINCT ON (k.key) k.key, k.id, k.one
                  FROM unnest(keys, ids, enqueue_runs.data) WITH ORDINALITY AS k(key, id, one, place) WHERE k.key IS NOT NULL
                 ORDER BY k.key, CASE WHEN mode IN ('replace', 'keep_time') THEN -k.place ELSE k.place END) w;
        SELECT array_agg(coalesce(t.run_id, CASE WHEN t.conflict IS NULL THEN coalesce(own.id, k.id) END) ORDER BY k.place),
               array_agg(coalesce(t.conflict, CASE WHEN own.id <> k.id
                                                   THEN CASE mode WHEN 'replace' THEN 'replaced' WHEN 'keep_time' THEN 'kept'
                                                                  ELSE 'exists' END END) ORDER BY k.place)
          INTO chosen, conflicts
          FROM unnest(keys, ids) WITH ORDINALITY AS k(key, id, place)
               LEFT JOIN unnest(known.keys, known.runs) AS own(key, id) ON own.key = k.key
               LEFT JOIN rota.keys_take(j.id, known.keys, known.runs, known.data, new_route, due,
                                        coalesce(j.unique_until = 'started', mode IN ('replace', 'keep_time')),
                                        j.unique_for_ms * interval '1 ms', mode) t ON t.key = k.key;
        SELECT coalesce(array_agg(i.id ORDER BY i.id), '{}'), coalesce(array_agg(i.one ORDER BY i.id), '{}') INTO inserted, bodies
          FROM unnest(ids, chosen, enqueue_runs.data) AS i(id, taken, one) WHERE i.id = i.taken;
        is_extra := is_extra OR known.keys IS NOT NULL; -- its end gives the key back
        IF watched THEN -- whoever has the key is waited for
            UPDATE rota.run_extra x SET watched = true WHERE x.run_id = ANY (chosen);
        END IF;
        IF 'replaced' = ANY (conflicts) THEN
            UPDATE rota.run_extra x
               SET expires_at = expires, traceparent = coalesce(enqueue_runs.traceparent, x.traceparent)
             WHERE x.run_id = ANY (ARRAY(SELECT t.id FROM unnest(chosen, conflicts) AS t(id, conflict) WHERE t.conflict = 'replaced'));
        END IF;
    END IF;
    IF j.max_pending IS NOT NULL AND NOT full_too THEN
        PERFORM FROM (SELECT FROM rota.pending p WHERE p.job_id = j.id AND p.counted
                       LIMIT greatest(1, j.max_pending - cardinality(inserted) + 1)) waiting
         HAVING count(*) + cardinality(inserted) > j.max_pending AND cardinality(inserted) > 0;
        IF FOUND THEN
            RAISE EXCEPTION 'the queue of job "%" is full: it takes % waiting runs', enqueue_runs.job, j.max_pending
                  USING ERRCODE = '53400', HINT = 'Try again later, or raise max_pending of the job.';
        END IF;
    END IF;

    hold := CASE WHEN cardinality(after) > 0 THEN 'A' WHEN j.held THEN 'P' WHEN j.rate_limit IS NOT NULL THEN 'R' END;
    IF cardinality(inserted) >= rota.bundle_size() / 10 AND keys IS NULL AND NOT is_extra AND hold IS DISTINCT FROM 'A'
       AND j.lane_limit IS NULL AND j.rate_limit IS NULL AND j.max_pending IS NULL AND j.alike
       AND NOT EXISTS (SELECT FROM rota.incarnation i WHERE i.knows IS NULL) THEN
        INSERT INTO rota.bundle (route, due, held_due, job_id, size, first_id, last_id, ids, data)
        SELECT new_route, CASE WHEN hold IS NULL THEN due ELSE 'infinity' END, CASE WHEN hold IS NOT NULL THEN due END, j.id,
               cardinality(s.ids), (SELECT min(i.id) FROM unnest(s.ids) AS i(id)), (SELECT max(i.id) FROM unnest(s.ids) AS i(id)),
               s.ids, CASE WHEN num_nonnulls(VARIADIC s.data) > 0 THEN s.data END
          FROM (SELECT inserted[g.at : g.at + rota.bundle_size() - 1] AS ids, bodies[g.at : g.at + rota.bundle_size() - 1] AS data
                  FROM generate_series(1, cardinality(inserted), rota.bundle_size()) AS g(at)) s;
    ELSIF j.lane_limit IS NULL AND j.rate_limit IS NULL THEN
        INSERT INTO rota.pending (id, route, due, job_id, scheduled_at, data, held, held_due, extra, counted)
        SELECT d.id, new_route, CASE WHEN hold IS NULL THEN due ELSE 'infinity' END, j.id, due, d.one, hold,
               CASE WHEN hold IS NOT NULL THEN due END, is_extra, j.max_pending IS NOT NULL
          FROM unnest(inserted, bodies) AS d(id, one);
    ELSE
        WITH made AS (
            INSERT INTO rota.pending AS p (id, route, due, job_id, scheduled_at, data, held, held_due, extra, counted, lane, bucket)
            SELECT d.id, CASE WHEN l.lane IS NULL THEN new_route ELSE -new_route END,
                   CASE WHEN hold IS NULL THEN due ELSE 'infinity' END, j.id, due, d.one, hold,
                   CASE WHEN hold IS NOT NULL THEN due END, is_extra, j.max_pending IS NOT NULL, l.lane,
                   CASE WHEN j.rate_limit IS NOT NULL THEN rota.run_bucket(j.id, NULL, d.one) END
              FROM unnest(inserted, bodies) AS d(id, one)
                   CROSS JOIN LATERAL (SELECT CASE WHEN j.lane_limit IS NOT NULL THEN rota.run_lane(j.id, NULL, d.one) END AS lane) l
            RETURNING p.bucket
        )
        SELECT array_agg(DISTINCT m.bucket) INTO buckets FROM made m;
    END IF;
    IF is_extra AND cardinality(inserted) > 0 THEN
        INSERT INTO rota.run_extra (run_id, expires_at, traceparent, watched)
        SELECT i.id, expires, enqueue_runs.traceparent, coalesce(enqueue_runs.watched, false) FROM unnest(inserted) AS i(id);
    END IF;
    IF cardinality(after) > 0 AND cardinality(inserted) > 0 THEN
        PERFORM rota.after_set(inserted, after, coalesce(after_any, false));
    END IF;
    IF cardinality(inserted) > 0 THEN
        IF hold = 'R' THEN
            PERFORM rota.rate_tell(buckets, array_fill(j.id, ARRAY[cardinality(buckets)]),
                                   array_fill(due, ARRAY[cardinality(buckets)]));
        ELSIF hold = 'A' THEN
            PERFORM rota.wake('after');
        ELSIF hold IS NULL THEN
            PERFORM rota.wake(CASE WHEN j.lane_limit IS NULL THEN '' ELSE 'lane' END);
        END IF;
    END IF;
    RETURN QUERY SELECT c.id, CASE WHEN c.conflict = 'exists' AND mode = 'reject' THEN 'rejected' ELSE c.conflict END
                   FROM unnest(chosen, conflicts) AS c(id, conflict);
END $$;

-- ---- where a run is ----

-- As in 0006: what is in a bundle waits.
CREATE OR REPLACE FUNCTION rota.run_place(run bigint) RETURNS text
LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN EXISTS (SELECT FROM rota.pending p WHERE p.id = run) OR rota.bundle_of(run) IS NOT NULL THEN 'pending'
                WHEN EXISTS (SELECT FROM rota.receipt r
                              WHERE run = ANY (r.ids) AND get_bit(r.open, array_position(r.ids, run) - 1) = 1) THEN 'claimed'
                WHEN EXISTS (SELECT FROM rota.task_history h WHERE h.id = run) THEN 'over' END
$$;

CREATE OR REPLACE FUNCTION rota.runs_over(runs bigint[]) RETURNS bigint[]
LANGUAGE sql STABLE AS $$
    WITH claimed AS MATERIALIZED (
        SELECT u.id FROM rota.receipt r CROSS JOIN LATERAL unnest(r.ids) WITH ORDINALITY AS u(id, place)
         WHERE get_bit(r.open, (u.place - 1)::integer) = 1
    )
    SELECT coalesce(array_agg(n.id), '{}') FROM unnest(runs) AS n(id)
     WHERE NOT EXISTS (SELECT FROM rota.pending p WHERE p.id = n.id) AND n.id NOT IN (SELECT c.id FROM claimed c)
       AND rota.bundle_of(n.id) IS NULL
$$;

-- As in 0009, with what is in bundles.
CREATE OR REPLACE VIEW rota.run AS
    SELECT p.id, 'pending'::text AS state, p.job_id, p.trigger_id, coalesce(p.held_due, p.due) AS due, p.scheduled_at,
           p.enqueued_at, p.attempt, p.missed, p.recovering, NULL::text AS node, NULL::timestamptz AS started_at,
           NULL::bigint AS fence, CASE p.held WHEN 'P' THEN 'paused' WHEN 'L' THEN 'lane' WHEN 'A' THEN 'after'
                                              WHEN 'R' THEN 'rate' END AS held, p.lane,
           p.made_up AS misfired, p.bucket, p.extra
      FROM rota.pending p
    UNION ALL
    SELECT o.id, 'pending', b.job_id, NULL, coalesce(b.held_due, b.due), coalesce(b.held_due, b.due), b.enqueued_at, 1::smallint, 0,
           false, NULL, NULL, NULL, CASE WHEN b.held_due IS NOT NULL THEN 'paused' END, NULL, false, NULL, false
      FROM rota.bundle b CROSS JOIN LATERAL rota.bundle_rest(b) o
    UNION ALL
    SELECT o.id, 'started', o.job_id, o.trigger_id, o.due, o.scheduled_at, o.enqueued_at, o.attempt, o.missed,
           o.recovering, i.node, r.claimed_at, r.fence, NULL,
           CASE WHEN r.laned THEN (SELECT s.lane FROM rota.lane_slot s WHERE s.run_id = o.id AND s.fence = r.fence LIMIT 1) END,
           coalesce(r.made_up[o.slot + 1], false), NULL, true
      FROM rota.receipt r JOIN rota.incarnation i ON i.id = r.incarnation
           CROSS JOIN LATERAL rota.receipt_runs(r) o;

-- ---- cancelling ----

-- As in 0008: a run in a bundle is taken out of it first.
CREATE OR REPLACE FUNCTION rota.cancel_act(runs bigint[], patient boolean) RETURNS TABLE (run_id bigint, answer text)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    open bigint[] := runs;
    ended bigint[] := '{}';
    over bigint[];
    one record;
BEGIN
    FOR turn IN 1 .. 5 LOOP -- a run that comes back from a node between two statements is looked for again
        PERFORM rota.bundles_open_runs(open, patient);
        FOR one IN -- in the order of their ids, so that two who cancel many do not deadlock
            SELECT w.reason, array_agg(w.id ORDER BY w.id) AS ids
              FROM (SELECT p.id, c.reason FROM rota.cancel_request c JOIN rota.pending p ON p.id = c.run_id
                     WHERE c.run_id = ANY (open) ORDER BY p.id FOR UPDATE OF p) w
             GROUP BY w.reason
        LOOP
            PERFORM rota.pending_end(one.ids, 'cancelled', one.reason);
            ended := ended || one.ids;
            RETURN QUERY SELECT i.id, 'cancelled' FROM unnest(one.ids) AS i(id);
        END LOOP;
        open := ARRAY(SELECT o.id FROM unnest(open) AS o(id) EXCEPT SELECT e.id FROM unnest(ended) AS e(id));
        EXIT WHEN NOT EXISTS (SELECT FROM rota.pending p WHERE p.id = ANY (open));
    END LOOP;
    IF cardinality(open) > 0 THEN
        over := rota.runs_over(open);
        RETURN QUERY SELECT o.id, CASE WHEN o.id <> ALL (over) THEN 'requested'
                                       WHEN EXISTS (SELECT FROM rota.task_history h WHERE h.id = o.id) THEN 'finished'
                                       ELSE 'not_found' END
                       FROM unnest(open) AS o(id);
        DELETE FROM rota.cancel_request c WHERE c.run_id = ANY (over);
    END IF;
    IF cardinality(ended) > 0 THEN
        PERFORM rota.after_resolve(ended, false);
    END IF;
END $$;

-- As old nodes call it.
CREATE OR REPLACE FUNCTION rota.cancel_act(runs bigint[]) RETURNS TABLE (run_id bigint, answer text)
LANGUAGE sql VOLATILE AS $$
    SELECT * FROM rota.cancel_act(runs, true)
$$;

CREATE OR REPLACE FUNCTION rota.cancel_sweep() RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    asked bigint[] := ARRAY(SELECT c.run_id FROM rota.cancel_request c ORDER BY c.requested_at LIMIT 1000);
    mine bigint[] := ARRAY(SELECT p.id FROM rota.pending p WHERE p.id = ANY (asked) ORDER BY p.id FOR UPDATE SKIP LOCKED);
BEGIN
    asked := ARRAY(SELECT a.id FROM unnest(asked) AS a(id)
                    WHERE a.id = ANY (mine) OR NOT EXISTS (SELECT FROM rota.pending p WHERE p.id = a.id));
    RETURN (SELECT count(*) FROM rota.cancel_act(asked, false) a WHERE a.answer = 'cancelled');
END $$;

-- ---- pauses and changes of jobs ----

-- As in 0009: a bundle is held, and let go, whole.
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
    -- in the order in which who opens them locks them, and before any of their rows
    PERFORM FROM rota.bundle b JOIN rota.job j ON j.id = b.job_id
      WHERE j.held = (b.held_due IS NULL) AND (jobs IS NULL OR b.job_id = ANY (jobs)) ORDER BY b.id FOR UPDATE OF b;
    UPDATE rota.pending p SET due = 'infinity', held = 'P', held_due = coalesce(p.held_due, p.due)
      FROM rota.job j
     WHERE j.id = p.job_id AND j.held AND (p.held IS NULL OR p.held = 'L') AND (jobs IS NULL OR p.job_id = ANY (jobs));
    UPDATE rota.pending p -- a start that was given before the pause is not kept over it
       SET due = CASE WHEN p.bucket IS NULL THEN p.held_due ELSE p.due END,
           held = CASE WHEN p.bucket IS NOT NULL THEN 'R'::"char" END,
           held_due = CASE WHEN p.bucket IS NOT NULL THEN p.held_due END
      FROM rota.job j
     WHERE j.id = p.job_id AND NOT j.held AND p.held = 'P' AND (jobs IS NULL OR p.job_id = ANY (jobs));
    UPDATE rota.bundle b
       SET due = CASE WHEN j.held THEN 'infinity' ELSE b.held_due END, held_due = CASE WHEN j.held THEN b.due END
      FROM rota.job j
     WHERE j.id = b.job_id AND j.held = (b.held_due IS NULL) AND (jobs IS NULL OR b.job_id = ANY (jobs));
    IF lanes IS NOT NULL THEN
        PERFORM rota.lane_wake(lanes);
    END IF;
    PERFORM rota.rate_tell_jobs(jobs);
    UPDATE rota.fleet f -- nodes read the jobs again
       SET paused = coalesce(everywhere, f.paused), definition_revision = f.definition_revision + 1;
    PERFORM pg_notify('rota.wake', 'definitions');
    RETURN changed;
END $$;

CREATE OR REPLACE FUNCTION rota.pause_sweep() RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    done bigint;
    rated integer[];
    bundles bigint;
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
    IF (SELECT min(b.job_id) FROM rota.bundle b WHERE b.held_due IS NOT NULL) IS NOT NULL THEN
        UPDATE rota.bundle b SET due = b.held_due, held_due = NULL
         WHERE b.id = ANY (ARRAY(SELECT w.id FROM rota.bundle w JOIN rota.job j ON j.id = w.job_id AND NOT j.held
                                  WHERE w.held_due IS NOT NULL LIMIT 1000 FOR UPDATE OF w SKIP LOCKED));
        GET DIAGNOSTICS bundles = ROW_COUNT;
        done := done + bundles;
    END IF;
    IF rated IS NOT NULL THEN
        PERFORM rota.rate_tell_jobs(rated);
    END IF;
    IF done > 0 THEN
        PERFORM pg_notify('rota.wake', 'lane'), pg_notify('rota.wake', '');
    END IF;
    RETURN done;
END $$;

-- As in 0002, of receipts that say once what job they are of, too.
CREATE OR REPLACE FUNCTION rota.lanes_changed(names text[]) RETURNS void
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
             WHERE (r.job_ids && jobs OR r.job_all = ANY (jobs)) AND u.job_id = ANY (jobs)) x
     WHERE x.lane IS NOT NULL
       AND NOT EXISTS (SELECT FROM rota.lane_slot o WHERE o.lane = x.lane AND o.run_id = x.id AND o.fence = x.fence)
    ON CONFLICT (lane, slot) DO UPDATE -- of an earlier claim of the run, not swept yet
       SET job_id = excluded.job_id, run_id = excluded.run_id, fence = excluded.fence, taken_at = now();
    PERFORM pg_notify('rota.wake', 'lane');
END $$;

-- Ends what waits of jobs that are about to be removed, and of triggers. Returns how many.
CREATE FUNCTION rota.job_end(jobs integer[], triggers integer[], why text) RETURNS bigint
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM rota.bundles_open_jobs(jobs);
    RETURN rota.pending_end(ARRAY(SELECT p.id FROM rota.pending p
                                   WHERE p.job_id = ANY (jobs) OR p.trigger_id = ANY (triggers)), 'cancelled', why);
END $$;


-- ---- single runs ----

-- As in 0006, and: nobody is told where no node is registered. One that registers meanwhile looks by itself, at
-- the latest with its next heartbeat.
CREATE OR REPLACE FUNCTION rota.wake(payload text) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF coalesce(current_setting('rota.notify', true), '') <> 'off'
       AND NOT EXISTS (SELECT FROM rota.busy b WHERE b.busy_until > clock_timestamp()
                                                 AND b.busy_until < clock_timestamp() + interval '5 s')
       AND EXISTS (SELECT FROM rota.incarnation) THEN
        PERFORM pg_notify('rota.wake', payload);
    END IF;
END $$;

-- As in 0006, and: a run of a plain job, with nothing asked for but data, time and priority, costs little more than
-- its row. All else, and all that is to be refused, goes the general way.
CREATE OR REPLACE FUNCTION rota.enqueue(job text, data jsonb DEFAULT NULL, run_at timestamptz DEFAULT NULL, priority integer DEFAULT NULL,
                             key text DEFAULT NULL, on_conflict text DEFAULT NULL, after bigint[] DEFAULT NULL,
                             expires_in interval DEFAULT NULL, traceparent text DEFAULT NULL, after_any boolean DEFAULT false)
RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    run bigint;
    met text;
    due timestamptz := coalesce(run_at, now());
    body json := data;
    tell boolean; -- as wake() has it: a call less
BEGIN
    IF num_nonnulls(key, on_conflict, after, expires_in, traceparent) = 0 AND due >= '1970-01-01 00:00:00+00'
       AND due < '10000-01-01 00:00:00+00' AND coalesce(jsonb_typeof(data), 'object') = 'object'
       AND coalesce(octet_length(body::text), 0) <= 262144 THEN
        INSERT INTO rota.pending AS p (route, due, job_id, scheduled_at, data)
        SELECT r.id, due, j.id, due, body
          FROM rota.job j JOIN rota.route r ON r.handler = j.handler AND r.priority = coalesce(enqueue.priority, j.priority)
         WHERE j.name = enqueue.job AND num_nonnulls(j.lane_limit, j.rate_limit, j.max_pending, j.expires_in_ms, j.unique_key) = 0
           AND NOT j.held
        RETURNING p.id, NOT EXISTS (SELECT FROM rota.busy b WHERE b.busy_until > clock_timestamp()
                                                              AND b.busy_until < clock_timestamp() + interval '5 s')
                        AND EXISTS (SELECT FROM rota.incarnation) INTO run, tell;
        IF FOUND THEN
            IF tell AND coalesce(current_setting('rota.notify', true), '') <> 'off' THEN
                PERFORM pg_notify('rota.wake', '');
            END IF;
            RETURN run;
        END IF;
    END IF;
    SELECT e.run_id, e.conflict INTO run, met
      FROM rota.enqueue_runs(enqueue.job, ARRAY[enqueue.data::json], enqueue.run_at, enqueue.priority,
                             CASE WHEN enqueue.key IS NOT NULL THEN ARRAY[enqueue.key] END, enqueue.on_conflict, enqueue.after,
                             enqueue.after_any, enqueue.expires_in, enqueue.traceparent, false) e;
    IF met = 'undecided' THEN
        RAISE EXCEPTION 'the key of this run of "%" is in the hands of a transaction that has not ended', enqueue.job
              USING ERRCODE = '55P03', HINT = 'Try again.';
    ELSIF met = 'rejected' THEN
        RAISE EXCEPTION 'run % of "%" has this key already', run, enqueue.job USING ERRCODE = '23505',
              HINT = 'on_conflict says what else to do: existing, replace, keep_time.';
    END IF;
    RETURN run;
END $$;

INSERT INTO rota.schema_version (version, name, needs) VALUES (10, '0010_speed', 1);
