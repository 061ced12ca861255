-- The queue: what is enqueued, under which key, after which runs, within which rate and depth.
--
-- Plain runs pay for none of it. What a run has beside its row of `pending` or its bit of a receipt
-- (time of expiry, trace, progress, checkpoint, logs) is one row of run_extra, from its first day in the
-- queue to its end, in whatever place it is; `extra` says that there may be one.
--
-- A key is held by the row of unique_key. Whether that still means anything is asked of the run it names:
-- where it is now. So nothing that ends a run in whatever way can leave a key behind that holds; rows are
-- deleted with their run's end only to keep the table small.

-- ---- what is declared ----

ALTER TABLE rota.job
    ADD COLUMN max_pending integer CHECK (max_pending >= 1),   -- enqueueing beyond it is refused; NULL: no limit
    ADD COLUMN expires_in_ms bigint CHECK (expires_in_ms BETWEEN 1 AND 3153600000000), -- a run not started so long after its due time is dropped
    ADD COLUMN on_failure text -- the job that is told of each final failure
        CONSTRAINT job_told REFERENCES rota.job (name) DEFERRABLE INITIALLY DEFERRED,
    ADD COLUMN rate_limit integer CHECK (rate_limit >= 1),     -- starts per rate_per_ms, of each key
    ADD COLUMN rate_per_ms bigint CHECK (rate_per_ms BETWEEN 1 AND 31622400000),
    ADD COLUMN rate_burst integer CHECK (rate_burst >= 1),     -- starts at once after a quiet time
    ADD COLUMN rate_key text,                                  -- JSON pointer into the data; NULL: one bucket
    ADD COLUMN unique_key text,                                -- JSON pointer into the data; '': the whole data
    ADD COLUMN unique_until text CHECK (unique_until IN ('started', 'finished')),
    ADD COLUMN unique_for_ms bigint CHECK (unique_for_ms BETWEEN 1 AND 3153600000000), -- the key is held at least so long
    ADD COLUMN unique_conflict text CHECK (unique_conflict IN ('reject', 'existing', 'replace', 'keep_time')),
    ADD CONSTRAINT job_rate CHECK ((rate_limit IS NULL) = (rate_per_ms IS NULL) AND (rate_limit IS NULL) = (rate_burst IS NULL)
                                   AND (rate_key IS NULL OR rate_limit IS NOT NULL));

-- ---- what waits ----

-- held: P its job is paused, L its lane is full, A it waits for other runs, R it waits for its rate.
ALTER TABLE rota.pending
    ADD COLUMN extra boolean NOT NULL DEFAULT false,   -- it has, or may have, a row of run_extra
    ADD COLUMN counted boolean NOT NULL DEFAULT false, -- its job has a max_pending
    ADD COLUMN bucket bigint,                          -- of its rate; held R until it is given a start
    DROP CONSTRAINT pending_held_check,
    ADD CONSTRAINT pending_held_check CHECK (held IN ('P', 'L', 'A', 'R')) NOT VALID,
    ADD CONSTRAINT pending_due CHECK (due >= '1970-01-01 00:00:00+00') NOT VALID; -- claims take minutes from it
CREATE INDEX job_on_failure ON rota.job (on_failure) WHERE on_failure IS NOT NULL;
CREATE INDEX pending_counted ON rota.pending (job_id) WHERE counted;
CREATE INDEX pending_after ON rota.pending (id) WHERE held = 'A';
CREATE INDEX pending_rated ON rota.pending (bucket, route, held_due) WHERE held = 'R';
CREATE INDEX pending_granted ON rota.pending (bucket) WHERE bucket IS NOT NULL AND (held IS NULL OR held = 'L');

ALTER TABLE rota.receipt ADD COLUMN extra boolean[]; -- NULL: none of them
ALTER TABLE rota.task_history
    ADD COLUMN data json, -- the run's own, for whoever runs it again
    ADD COLUMN logs json; -- its newest lines

CREATE TABLE rota.run_extra (
    run_id       bigint PRIMARY KEY,
    fence        bigint,      -- the newest claim that looked at this row; what an older one says is void
    expires_at   timestamptz,
    traceparent  text CHECK (length(traceparent) <= 512),
    watched      boolean NOT NULL DEFAULT false, -- somebody waits for its end: NOTIFY rota.done
    fraction     real,
    message      text,
    checkpoint   json,
    logs         jsonb,       -- the newest 100: [{"at","level","message"}]
    logs_dropped bigint NOT NULL DEFAULT 0,
    noted_at     timestamptz,
    made_at      timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500,
        autovacuum_vacuum_cost_delay = 0);
-- Of runs that nobody has claimed yet: of the others it is looked at when they are claimed.
CREATE INDEX run_extra_expires ON rota.run_extra (expires_at) WHERE expires_at IS NOT NULL AND fence IS NULL;

-- Lines of a log with newer ones behind them: the newest 100 of at most 32 KiB together.
CREATE FUNCTION rota.logs_add(old jsonb, newer jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN newer IS NULL THEN old
                ELSE (SELECT jsonb_agg(l.line ORDER BY l.place)
                        FROM (SELECT x.line, x.place, row_number() OVER newest AS number,
                                     sum(octet_length(x.line::text)) OVER newest AS bytes
                                FROM jsonb_array_elements(coalesce(old, '[]') || newer) WITH ORDINALITY AS x(line, place)
                              WINDOW newest AS (ORDER BY x.place DESC)) l
                       WHERE l.number <= 100 AND (l.bytes <= 32768 OR l.number = 1)) END
$$;

-- How many lines that leaves out.
CREATE FUNCTION rota.logs_lost(old jsonb, newer jsonb) RETURNS bigint
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN newer IS NULL THEN 0
                ELSE jsonb_array_length(coalesce(old, '[]')) + jsonb_array_length(newer)
                     - jsonb_array_length(rota.logs_add(old, newer)) END
$$;

CREATE TABLE rota.unique_key (
    job_id        integer NOT NULL,
    key           text NOT NULL CHECK (length(key) BETWEEN 1 AND 254),
    run_id        bigint NOT NULL,
    until_started boolean NOT NULL, -- held while the run is pending; otherwise until it is over
    keep_until    timestamptz,      -- and not before this
    PRIMARY KEY (job_id, key)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500,
        autovacuum_vacuum_cost_delay = 0);
CREATE INDEX unique_key_run ON rota.unique_key (run_id);

-- A run that waits for others: one row for each. It is held (A) until the last of them is gone.
CREATE TABLE rota.run_after (
    needs       bigint NOT NULL,
    run_id      bigint NOT NULL,
    any_outcome boolean NOT NULL, -- otherwise the other run must succeed
    made_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (needs, run_id)
);
CREATE INDEX run_after_run ON rota.run_after (run_id);

-- ---- what cannot be read ----

-- As in 0002, but what holds something that no text can (\u0000, half of a surrogate pair) has no value: it
-- must not keep others from being claimed, or a manifest from being applied.
CREATE OR REPLACE FUNCTION rota.lane_value(pointer text, run_data json, trigger_data json, job_data json) RETURNS text
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
EXCEPTION WHEN untranslatable_character OR invalid_text_representation THEN
    RETURN NULL;
END $$;

-- A member of what a worker has said; NULL, too, where anything in all of it cannot be read.
CREATE FUNCTION rota.json_part(whole json, name text) RETURNS json
LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    RETURN whole -> name;
EXCEPTION WHEN untranslatable_character OR invalid_text_representation THEN
    RETURN NULL;
END $$;

-- ---- where a run is ----

-- pending, claimed, over, or NULL: all of one snapshot.
CREATE FUNCTION rota.run_place(run bigint) RETURNS text
LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN EXISTS (SELECT FROM rota.pending p WHERE p.id = run) THEN 'pending'
                WHEN EXISTS (SELECT FROM rota.receipt r
                              WHERE run = ANY (r.ids) AND get_bit(r.open, array_position(r.ids, run) - 1) = 1) THEN 'claimed'
                WHEN EXISTS (SELECT FROM rota.task_history h WHERE h.id = run) THEN 'over' END
$$;

-- ---- enqueueing ----

-- Tells nodes of new work, unless a node has said a moment ago that it looks by itself (busy_until) or the
-- session has `rota.notify` set to off. NOTIFY takes a lock of the whole database at commit. A mark further
-- ahead than nodes ever set it is of a clock that has been set back since.
CREATE TABLE rota.busy (
    singleton  boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    busy_until timestamptz NOT NULL DEFAULT '-infinity'
) WITH (fillfactor = 10, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 50);
INSERT INTO rota.busy DEFAULT VALUES;

CREATE FUNCTION rota.wake(payload text) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF coalesce(current_setting('rota.notify', true), '') <> 'off'
       AND NOT EXISTS (SELECT FROM rota.busy b WHERE b.busy_until > clock_timestamp()
                                                 AND b.busy_until < clock_timestamp() + interval '5 s') THEN
        PERFORM pg_notify('rota.wake', payload);
    END IF;
END $$;

-- Whether what this transaction sees of a run is still so. One with a snapshot of its own (REPEATABLE READ)
-- may see a run wait that is long over: 40001 then. The locks are given back with the subtransaction.
CREATE FUNCTION rota.run_place_check(run bigint) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM rota.pending p WHERE p.id = run FOR KEY SHARE SKIP LOCKED;
    PERFORM FROM rota.receipt r WHERE run = ANY (r.ids) FOR KEY SHARE SKIP LOCKED;
    RAISE SQLSTATE 'RT000';
EXCEPTION WHEN SQLSTATE 'RT000' THEN NULL;
END $$;

-- Puts other data into a run that waits, and with them their lane and their rate; due: NULL to leave the time
-- as it is. False: it does not wait any more, or somebody is about to claim it.
CREATE FUNCTION rota.pending_replace(run bigint, one json, route integer, due timestamptz) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    new_lane bigint;
    new_bucket bigint;
    was record;
    at timestamptz;
    hold "char";
BEGIN
    SELECT p.job_id, p.trigger_id, p.held, coalesce(p.held_due, p.due) AS due, p.bucket INTO was
      FROM rota.pending p WHERE p.id = run FOR UPDATE;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    new_lane := rota.run_lane(was.job_id, was.trigger_id, one);
    new_bucket := rota.run_bucket(was.job_id, was.trigger_id, one);
    at := coalesce(pending_replace.due, was.due);
    -- out of the lane it was parked in: it may be another; back to its rate: a start that was given is not kept for later
    hold := CASE WHEN was.held IN ('P', 'A') THEN was.held WHEN new_bucket IS NOT NULL THEN 'R' END;
    UPDATE rota.pending p
       SET data = one, lane = new_lane, bucket = new_bucket, held = hold,
           route = CASE WHEN new_lane IS NULL THEN pending_replace.route ELSE -pending_replace.route END,
           due = CASE WHEN hold IS NULL THEN at ELSE 'infinity' END, held_due = CASE WHEN hold IS NOT NULL THEN at END,
           scheduled_at = CASE WHEN pending_replace.due IS NULL THEN p.scheduled_at ELSE at END
     WHERE p.id = run;
    IF hold = 'R' THEN
        PERFORM rota.rate_tell(ARRAY[new_bucket], ARRAY[was.job_id], ARRAY[at]);
    ELSIF hold IS NULL THEN
        PERFORM rota.wake(CASE WHEN new_lane IS NULL THEN '' ELSE 'lane' END);
    END IF;
    RETURN true;
END $$;

-- Takes keys for new runs of a job, one of each key, and says what becomes of those that cannot have
-- theirs: `run_id` is who has the key then, `conflict` is exists (left as it was), replaced, kept (data
-- replaced, time kept), started (it runs already, or has run), undecided (another transaction has the key and
-- has not ended within a second). Keys are taken in their order, so that two who take many do not deadlock.
CREATE FUNCTION rota.keys_take(job integer, keys text[], runs bigint[], data json[], route integer, due timestamptz,
                               until_started boolean, keep interval, mode text)
RETURNS TABLE (run_id bigint, key text, conflict text)
LANGUAGE plpgsql SET lock_timeout = '1s' AS $$
#variable_conflict use_column
DECLARE
    open text[] := keys;
    before text[];
    one record;
    won text[];
    mine text[]; -- keys that are locked
    done text[];
    turns integer := 0;
    snapshot boolean := current_setting('transaction_isolation') <> 'read committed';
BEGIN
    LOOP
        turns := turns + 1;
        done := '{}';
        mine := '{}';
        before := open;
        BEGIN
            WITH made AS (
                INSERT INTO rota.unique_key AS u (job_id, key, run_id, until_started, keep_until)
                SELECT job, w.key, w.run, keys_take.until_started, now() + keep
                  FROM unnest(keys, runs) AS w(key, run) JOIN unnest(open) AS o(key) USING (key)
                 ORDER BY key
                ON CONFLICT (job_id, key) DO NOTHING
                RETURNING u.key
            )
            SELECT coalesce(array_agg(m.key), '{}') INTO won FROM made m;
            open := ARRAY(SELECT o.key FROM unnest(open) AS o(key) EXCEPT SELECT w.key FROM unnest(won) AS w(key));
            EXIT WHEN cardinality(open) = 0;
            mine := ARRAY(SELECT u.key FROM rota.unique_key u JOIN unnest(open) AS o(key) ON u.key = o.key
                           WHERE u.job_id = job ORDER BY u.key FOR UPDATE OF u);
        EXCEPTION WHEN lock_not_available OR deadlock_detected THEN -- find out which: the others need not suffer
            open := before; -- what was won is undone
            IF cardinality(open) > 1 AND turns < 3 THEN
                FOR one IN SELECT o.key FROM unnest(before) AS o(key) ORDER BY o.key LOOP
                    BEGIN
                        PERFORM set_config('lock_timeout', '10ms', true);
                        INSERT INTO rota.unique_key (job_id, key, run_id, until_started, keep_until)
                        VALUES (job, one.key, runs[array_position(keys, one.key)], keys_take.until_started, now() + keep)
                        ON CONFLICT DO NOTHING;
                        IF FOUND THEN
                            open := array_remove(open, one.key);
                        ELSE
                            PERFORM FROM rota.unique_key u WHERE u.job_id = job AND u.key = one.key FOR UPDATE;
                            IF FOUND THEN
                                mine := mine || one.key::text;
                            END IF;
                        END IF;
                    EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
                        open := array_remove(open, one.key);
                        RETURN QUERY SELECT NULL::bigint, one.key::text, 'undecided';
                    END;
                END LOOP;
            ELSE
                RETURN QUERY SELECT NULL::bigint, o.key, 'undecided' FROM unnest(open) AS o(key);
                EXIT;
            END IF;
        END;
        EXIT WHEN cardinality(open) = 0;
        -- A statement of its own: it sees where the holders are, now that their keys are locked. A key that was
        -- given back in between, and perhaps taken anew, is not: it has another turn.
        FOR one IN
            SELECT u.key, u.run_id, u.until_started, u.keep_until, rota.run_place(u.run_id) AS place, w.run, w.one
              FROM rota.unique_key u JOIN unnest(mine) AS o(key) ON u.key = o.key
                   JOIN unnest(keys, runs, keys_take.data) AS w(key, run, one) ON w.key = o.key
             WHERE u.job_id = job ORDER BY u.key
        LOOP
            IF snapshot THEN
                PERFORM rota.run_place_check(one.run_id);
            END IF;
            IF (one.place IS NULL OR one.place = 'over' OR (one.place = 'claimed' AND one.until_started))
               AND coalesce(one.keep_until, '-infinity') <= clock_timestamp() THEN
                UPDATE rota.unique_key u
                   SET run_id = one.run, until_started = keys_take.until_started,
                       keep_until = now() + keep
                 WHERE u.job_id = job AND u.key = one.key;
            ELSIF one.place = 'pending' AND mode IN ('replace', 'keep_time') THEN
                BEGIN
                    CONTINUE WHEN NOT rota.pending_replace(one.run_id, one.one, keys_take.route, -- claimed just now: look again
                                                           CASE mode WHEN 'replace' THEN keys_take.due END);
                    RETURN QUERY SELECT one.run_id::bigint, one.key::text, CASE mode WHEN 'replace' THEN 'replaced' ELSE 'kept' END;
                EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
                    RETURN QUERY SELECT NULL::bigint, one.key::text, 'undecided';
                END;
            ELSE
                RETURN QUERY SELECT one.run_id::bigint, one.key::text,
                                    CASE WHEN mode IN ('replace', 'keep_time') THEN 'started' ELSE 'exists' END;
            END IF;
            done := done || one.key::text;
        END LOOP;
        open := ARRAY(SELECT o.key FROM unnest(open) AS o(key) EXCEPT SELECT d.key FROM unnest(done) AS d(key));
        EXIT WHEN cardinality(open) = 0;
        IF turns >= 10 THEN
            RETURN QUERY SELECT NULL::bigint, o.key, 'undecided' FROM unnest(open) AS o(key);
            EXIT;
        END IF;
    END LOOP;
END $$;

-- Queues runs of a job, one for each element of data. Returns a row for each, in their order: the run, and
-- NULL or what keys_take says of its key, with on_conflict "reject" rejected for exists. All other functions and `rota enqueue` come down to this.
-- full_too: whatever the job's max_pending says.
-- 22023: no such job, or a parameter that means nothing. 53400: the job's queue is full.
CREATE FUNCTION rota.enqueue_runs(job text, data json[], run_at timestamptz, priority integer, keys text[], on_conflict text,
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
           k.unique_until, k.unique_for_ms, k.unique_conflict, k.data
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
    IF j.lane_limit IS NULL AND j.rate_limit IS NULL THEN
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

-- What new runs wait for. Only what exists can be waited for, so that there are no circles.
CREATE FUNCTION rota.after_set(runs bigint[], needs bigint[], any_outcome boolean) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    unknown bigint;
BEGIN
    IF cardinality(needs) > 1000 THEN
        RAISE EXCEPTION 'a run waits for at most 1000 others, not %', cardinality(needs) USING ERRCODE = '22023';
    END IF;
    SELECT n.id INTO unknown FROM unnest(needs) AS n(id)
     WHERE n.id IS NULL OR n.id = ANY (runs) OR rota.run_place(n.id) IS NULL LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'there is no run % to wait for', coalesce(unknown::text, 'NULL') USING ERRCODE = '22023',
              HINT = 'A run can wait for runs that are there already: queued, running, or in the history.';
    END IF;
    INSERT INTO rota.run_after (needs, run_id, any_outcome)
    SELECT DISTINCT n.id, r.id, after_set.any_outcome FROM unnest(after_set.needs) AS n(id) CROSS JOIN unnest(runs) AS r(id);
END $$;

-- Of a run to be queued: the id it has, or the run that has its key.
-- 23505: its key is held and on_conflict says reject. 55P03: who has the key has not ended his transaction.
CREATE FUNCTION rota.enqueue(job text, data jsonb DEFAULT NULL, run_at timestamptz DEFAULT NULL, priority integer DEFAULT NULL,
                             key text DEFAULT NULL, on_conflict text DEFAULT NULL, after bigint[] DEFAULT NULL,
                             expires_in interval DEFAULT NULL, traceparent text DEFAULT NULL, after_any boolean DEFAULT false)
RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    run bigint;
    met text;
BEGIN
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

-- Many runs at once. The ids in the order of data: of the run that has the key where another had it
-- before, NULL where that is undecided.
CREATE FUNCTION rota.enqueue_many(job text, data jsonb[], run_at timestamptz DEFAULT NULL, priority integer DEFAULT NULL,
                                  keys text[] DEFAULT NULL, on_conflict text DEFAULT NULL, expires_in interval DEFAULT NULL)
RETURNS bigint[]
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce(array_agg(e.run_id ORDER BY e.place), '{}')
      FROM rota.enqueue_runs(enqueue_many.job, enqueue_many.data::json[], enqueue_many.run_at, enqueue_many.priority,
                             enqueue_many.keys, enqueue_many.on_conflict, NULL, NULL, enqueue_many.expires_in, NULL, NULL)
           WITH ORDINALITY AS e(run_id, conflict, place)
$$;

-- ---- runs that wait for others ----

-- Those of the runs that neither wait nor are claimed: of one snapshot, as run_place.
CREATE FUNCTION rota.runs_over(runs bigint[]) RETURNS bigint[]
LANGUAGE sql STABLE AS $$
    WITH claimed AS MATERIALIZED (
        SELECT u.id FROM rota.receipt r CROSS JOIN LATERAL unnest(r.ids) WITH ORDINALITY AS u(id, place)
         WHERE get_bit(r.open, (u.place - 1)::integer) = 1
    )
    SELECT coalesce(array_agg(n.id), '{}') FROM unnest(runs) AS n(id)
     WHERE NOT EXISTS (SELECT FROM rota.pending p WHERE p.id = n.id) AND n.id NOT IN (SELECT c.id FROM claimed c)
$$;

-- These runs are over: lets those go that waited for one of them and wait for nothing more, and ends those
-- whose condition cannot be met any more, and who waited for them in turn. patient: who is locked by somebody
-- else is waited for, though not for long (55P03); otherwise he is left to the sweep. Returns how many it let
-- go and how many it ended: after 5000 of them it leaves the others to the sweep, as nodes wait for the answer.
CREATE FUNCTION rota.after_resolve(done bigint[], patient boolean) RETURNS TABLE (released bigint, ended bigint)
LANGUAGE plpgsql SET lock_timeout = '200ms' AS $$
DECLARE
    resolved bigint[];
    failed bigint[];
    seen bigint;
    waiters bigint[];
    refused bigint[];
BEGIN
    released := 0;
    ended := 0;
    LOOP
        resolved := ARRAY(SELECT d.id FROM unnest(done) AS d(id)
                           CROSS JOIN LATERAL (SELECT FROM rota.run_after a WHERE a.needs = d.id LIMIT 1) waited);
        EXIT WHEN cardinality(resolved) = 0; -- nobody waits for them, as a rule
        resolved := rota.runs_over(resolved);
        EXIT WHEN cardinality(resolved) = 0;
        failed := ARRAY(SELECT r.id FROM unnest(resolved) AS r(id)
                         WHERE NOT EXISTS (SELECT FROM rota.task_history h WHERE h.id = r.id AND h.status = 'success'));
        -- locked first: who resolves the other half of the same run's needs comes before us or after us
        IF patient THEN
            waiters := ARRAY(SELECT w.run_id FROM unnest(resolved) AS r(id) CROSS JOIN LATERAL (
                                    SELECT a.run_id FROM rota.run_after a WHERE a.needs = r.id ORDER BY a.run_id) w LIMIT 5000);
            seen := cardinality(waiters);
            waiters := ARRAY(SELECT p.id FROM rota.pending p WHERE p.id = ANY (waiters) ORDER BY p.id FOR UPDATE);
        ELSE -- those that are locked do not count
            waiters := ARRAY(SELECT l.id FROM unnest(resolved) AS r(id) CROSS JOIN LATERAL (
                                    SELECT a.run_id FROM rota.run_after a WHERE a.needs = r.id ORDER BY a.run_id) w
                                    CROSS JOIN LATERAL (
                                    SELECT p.id FROM rota.pending p WHERE p.id = w.run_id FOR UPDATE SKIP LOCKED) l LIMIT 5000);
            seen := cardinality(waiters);
        END IF;
        -- those that came in since then are not among the waiters: they are left to the sweep
        refused := ARRAY(SELECT DISTINCT w.id FROM unnest(waiters) AS w(id) CROSS JOIN LATERAL (
                                SELECT FROM rota.run_after a
                                 WHERE a.run_id = w.id AND a.needs = ANY (failed) AND NOT a.any_outcome LIMIT 1) one);
        ended := ended + rota.pending_end(refused, 'cancelled', 'a run it waits for did not succeed');
        DELETE FROM rota.run_after a
         WHERE a.ctid = ANY (ARRAY(SELECT k.ctid FROM unnest(waiters) AS w(id) CROSS JOIN LATERAL (
                                          SELECT x.ctid FROM rota.run_after x
                                           WHERE x.run_id = w.id AND x.needs = ANY (resolved) OFFSET 0) k));
        IF seen < 5000 THEN
            DELETE FROM rota.run_after a WHERE a.needs = ANY (resolved)
               AND NOT EXISTS (SELECT FROM rota.pending p WHERE p.id = a.run_id);
        END IF;
        released := released + rota.after_release(waiters);
        done := refused;
        EXIT WHEN cardinality(done) = 0 OR released + ended >= 5000;
    END LOOP;
    RETURN NEXT;
END $$;

-- Lets those of the runs go that wait for no other run any more. The caller has locked them.
CREATE FUNCTION rota.after_release(runs bigint[]) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    free bigint;
    buckets bigint[];
    bucket_jobs integer[];
    dues timestamptz[];
BEGIN
    WITH free AS (
        UPDATE rota.pending p
           SET held = w.hold, due = CASE WHEN w.hold IS NULL THEN p.held_due ELSE p.due END,
               held_due = CASE WHEN w.hold IS NULL THEN NULL ELSE p.held_due END
          FROM (SELECT q.id, CASE WHEN j.held THEN 'P'::"char" WHEN q.bucket IS NOT NULL THEN 'R'::"char" END AS hold
                  FROM rota.pending q LEFT JOIN rota.job j ON j.id = q.job_id
                 WHERE q.id = ANY (runs) AND q.held = 'A'
                   AND NOT EXISTS (SELECT FROM rota.run_after a WHERE a.run_id = q.id)) w
         WHERE p.id = w.id
        RETURNING p.bucket, p.job_id, p.held_due, p.held
    )
    SELECT count(*), array_agg(f.bucket) FILTER (WHERE f.held = 'R'), array_agg(f.job_id) FILTER (WHERE f.held = 'R'),
           array_agg(f.held_due) FILTER (WHERE f.held = 'R')
      INTO free, buckets, bucket_jobs, dues FROM free f;
    IF buckets IS NOT NULL THEN
        PERFORM rota.rate_tell(buckets, bucket_jobs, dues);
    END IF;
    IF free > 0 THEN
        PERFORM rota.wake(''), rota.wake('lane');
    END IF;
    RETURN free;
END $$;

-- For the leader, while anybody waits: looks after a slice, beyond `since`, of what is waited for, and after
-- those whose waits are gone. Returns what it did, and where the next slice begins (0: that was all; -1: at the
-- beginning, as this one had more than is done at once).
CREATE FUNCTION rota.after_sweep(since bigint) RETURNS TABLE (released bigint, ended bigint, next_since bigint)
LANGUAGE plpgsql AS $$
DECLARE
    slice bigint[] := ARRAY(
        WITH RECURSIVE need AS ( -- each once, however many wait for it
            (SELECT a.needs FROM rota.run_after a WHERE a.needs > since ORDER BY a.needs LIMIT 1)
            UNION ALL
            SELECT n.needs FROM need k CROSS JOIN LATERAL (
                   SELECT a.needs FROM rota.run_after a WHERE a.needs > k.needs ORDER BY a.needs LIMIT 1) n
        )
        SELECT k.needs FROM need k LIMIT 500);
    free bigint[];
BEGIN
    next_since := CASE WHEN cardinality(slice) < 500 THEN 0 ELSE slice[500] END;
    SELECT r.released, r.ended INTO released, ended FROM rota.after_resolve(slice, false) r;
    IF released + ended >= 5000 THEN
        next_since := -1;
    ELSIF next_since = 0 THEN
        free := ARRAY(SELECT p.id FROM rota.pending p
                       WHERE p.held = 'A' AND NOT EXISTS (SELECT FROM rota.run_after a WHERE a.run_id = p.id)
                       ORDER BY p.id LIMIT 500 FOR UPDATE SKIP LOCKED);
        released := released + rota.after_release(free);
    END IF;
    RETURN NEXT;
END $$;

-- ---- runs that end where they wait ----

-- Ends waiting runs: into the history, with what hangs on them. Returns how many were there.
CREATE FUNCTION rota.pending_end(runs bigint[], how text, why text) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    gone bigint[];
BEGIN
    WITH taken AS (
        DELETE FROM rota.pending p WHERE p.id = ANY (runs)
        RETURNING p.id, p.job_id, p.trigger_id, p.attempt, p.missed, p.scheduled_at, p.earlier, p.data, p.made_up, p.extra
    ), over AS (
        INSERT INTO rota.task_history AS h (id, task, trigger, ended_at, status, outcome, attempt, missed, scheduled_at,
                                            task_details, misfired, data)
        SELECT t.id, coalesce(j.name, '(deleted job)'), g.name, now(), 'failed', how, t.attempt, t.missed, t.scheduled_at,
               jsonb_strip_nulls(jsonb_build_object('status', 'failed', 'message', why, 'attempts', t.earlier))::json,
               t.made_up, t.data
          FROM taken t LEFT JOIN rota.job j ON j.id = t.job_id LEFT JOIN rota.trigger g ON g.id = t.trigger_id
        RETURNING h.id
    )
    SELECT array_agg(o.id) INTO gone FROM over o;
    IF gone IS NULL THEN
        RETURN 0;
    END IF;
    PERFORM rota.runs_ended(gone);
    RETURN cardinality(gone);
END $$;

-- Keys of runs that are over go. Not those that somebody is just asking for: he has the key and may wait for
-- the run, which whoever ends it has. A key that stays holds nothing, and the sweep finds it. Returns how many.
CREATE FUNCTION rota.keys_free(runs bigint[]) RETURNS bigint
LANGUAGE sql VOLATILE AS $$
    WITH mine AS MATERIALIZED (
        SELECT u.job_id, u.key FROM rota.unique_key u
         WHERE u.run_id = ANY (runs) AND coalesce(u.keep_until, '-infinity') <= now()
           FOR UPDATE SKIP LOCKED
    ), gone AS (
        DELETE FROM rota.unique_key u USING mine m WHERE u.job_id = m.job_id AND u.key = m.key RETURNING 1
    )
    SELECT count(*) FROM gone
$$;

-- What hangs on runs that are over goes with them: their logs to the history, their keys, their waits.
-- Whoever watches one is told. To be called in the transaction that wrote their history.
CREATE FUNCTION rota.extras_end(runs bigint[]) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    watched bigint[];
BEGIN
    DELETE FROM rota.run_after a WHERE a.run_id = ANY (runs);
    PERFORM rota.keys_free(runs);
    WITH gone AS MATERIALIZED (
        DELETE FROM rota.run_extra x WHERE x.run_id = ANY (runs) RETURNING x.run_id, x.watched, x.logs, x.logs_dropped
    ), logged AS (
        UPDATE rota.task_history h
           SET logs = CASE WHEN g.logs_dropped > 0
                           THEN jsonb_build_array(jsonb_build_object('dropped', g.logs_dropped)) || g.logs ELSE g.logs END::json
          FROM gone g WHERE g.logs IS NOT NULL AND h.id = g.run_id AND h.ended_at = now()
    )
    SELECT array_agg(g.run_id) INTO watched FROM gone g WHERE g.watched;
    PERFORM pg_notify('rota.done', w.id::text) FROM unnest(watched) AS w(id);
END $$;

-- For the leader: runs that have expired where they wait; and a slice, beyond the run `since`, of what was
-- left behind by runs that are over (nodes of before this migration do not know of it). Returns how many of
-- each, and where the next slice begins.
CREATE FUNCTION rota.extra_sweep(since bigint) RETURNS TABLE (expired bigint, left_behind bigint, next_since bigint)
LANGUAGE plpgsql AS $$
DECLARE
    late bigint[];
    slice bigint[];
    stale bigint[];
BEGIN
    late := ARRAY(SELECT w.id -- those that wait: what such nodes have claimed is passed over
                    FROM (SELECT x.run_id FROM rota.run_extra x
                           WHERE x.expires_at <= now() AND x.fence IS NULL ORDER BY x.expires_at) e
                         CROSS JOIN LATERAL (SELECT p.id FROM rota.pending p WHERE p.id = e.run_id FOR UPDATE SKIP LOCKED) w
                   LIMIT 1000);
    expired := rota.pending_end(late, 'expired', 'it was not started in time');
    slice := ARRAY(SELECT x.run_id
                     FROM ((SELECT k.run_id FROM rota.run_extra k WHERE k.run_id > since ORDER BY k.run_id LIMIT 1000)
                           UNION
                           (SELECT u.run_id FROM rota.unique_key u WHERE u.run_id > since ORDER BY u.run_id LIMIT 1000)) x
                    ORDER BY x.run_id LIMIT 1000);
    next_since := CASE WHEN cardinality(slice) < 1000 THEN 0 ELSE slice[1000] END;
    stale := rota.runs_over(slice);
    DELETE FROM rota.run_extra x WHERE x.run_id = ANY (stale);
    GET DIAGNOSTICS left_behind = ROW_COUNT;
    left_behind := left_behind + rota.keys_free(stale);
    RETURN NEXT;
END $$;

INSERT INTO rota.schema_version (version, name, needs) VALUES (6, '0006_queue', 1);
