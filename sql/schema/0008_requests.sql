-- What may be asked of runs that are there already: to end, to be run again, to be told of.
--
-- A request to cancel is recorded first and acted upon in a statement of its own. The run may move between
-- the two; so the request stays until the run is over, nodes see it with each heartbeat, and the leader
-- acts on it again. What was asked is done sooner or later, wherever the run has gone.

-- ---- cancel ----

CREATE TABLE rota.cancel_request (
    run_id       bigint PRIMARY KEY,
    requested_at timestamptz NOT NULL DEFAULT now(),
    reason       text NOT NULL CHECK (length(reason) <= 250)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200);

-- Acts on recorded requests: ends runs where they wait, drops requests whose runs are over. Those whose
-- runs are claimed stay for their nodes. Returns what became of each: cancelled, requested, finished or
-- not_found.
CREATE FUNCTION rota.cancel_act(runs bigint[]) RETURNS TABLE (run_id bigint, answer text)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    open bigint[] := runs;
    ended bigint[] := '{}';
    one record;
BEGIN
    FOR turn IN 1 .. 5 LOOP -- a run that comes back from a node between two statements is looked for again
        FOR one IN
            SELECT c.run_id, c.reason FROM rota.cancel_request c
              JOIN rota.pending p ON p.id = c.run_id WHERE c.run_id = ANY (open) ORDER BY c.run_id
        LOOP
            IF rota.pending_end(ARRAY[one.run_id], 'cancelled', one.reason) = 1 THEN
                ended := ended || one.run_id;
                RETURN QUERY SELECT one.run_id::bigint, 'cancelled';
            END IF;
        END LOOP;
        open := ARRAY(SELECT o.id FROM unnest(open) AS o(id) WHERE o.id <> ALL (ended));
        EXIT WHEN NOT EXISTS (SELECT FROM unnest(open) AS o(id) WHERE rota.run_place(o.id) = 'pending');
    END LOOP;
    RETURN QUERY SELECT w.id, CASE w.place WHEN 'over' THEN 'finished' WHEN 'claimed' THEN 'requested'
                                           WHEN 'pending' THEN 'requested' ELSE 'not_found' END
                   FROM (SELECT o.id, rota.run_place(o.id) AS place FROM unnest(open) AS o(id)) w;
    DELETE FROM rota.cancel_request c
     WHERE c.run_id = ANY (runs) AND coalesce(rota.run_place(c.run_id), 'over') = 'over';
END $$;

-- Ends a run: at once where it waits (cancelled); where it runs, its worker is told and, if it does not
-- heed that, ended (requested). finished: it is over. not_found: there is no such run.
CREATE FUNCTION rota.cancel(run bigint, reason text DEFAULT 'cancelled') RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    what text;
BEGIN
    INSERT INTO rota.cancel_request (run_id, reason) VALUES (cancel.run, left(coalesce(cancel.reason, 'cancelled'), 250))
    ON CONFLICT (run_id) DO NOTHING;
    SELECT a.answer INTO what FROM rota.cancel_act(ARRAY[cancel.run]) a;
    IF what = 'requested' THEN
        PERFORM pg_notify('rota.wake', 'cancel');
    END IF;
    RETURN what;
END $$;

-- ---- one more ----

-- One extra firing now: of a trigger, or of a job if no trigger has the name. Returns the run. The schedule
-- is not moved. It waits for the rate of its job and for its lane like any other, but what is said of the
-- queue (max_pending, expires_in, unique) is said to those who enqueue. 22023: no trigger or job has the name.
CREATE FUNCTION rota.fire(name text) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    one record;
    hold "char";
    run bigint;
BEGIN
    SELECT w.*, rota.run_bucket(w.job_id, w.trigger_id, NULL) AS bucket INTO one
      FROM (SELECT abs(d.route) AS route, t.job_id, t.id AS trigger_id, d.lane, j.held
              FROM rota.trigger t JOIN rota.trigger_due d ON d.trigger_id = t.id JOIN rota.job j ON j.id = t.job_id
             WHERE t.name = fire.name
            UNION ALL
            SELECT rota.route_of(j.handler, j.priority), j.id, NULL, rota.run_lane(j.id, NULL, NULL), j.held
              FROM rota.job j
             WHERE j.name = fire.name AND NOT EXISTS (SELECT FROM rota.trigger t WHERE t.name = fire.name)) w;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no trigger and no job is called "%"', fire.name USING ERRCODE = '22023';
    END IF;
    hold := CASE WHEN one.held THEN 'P' WHEN one.bucket IS NOT NULL THEN 'R' END;
    INSERT INTO rota.pending AS p (route, due, job_id, trigger_id, scheduled_at, lane, bucket, held, held_due)
    VALUES (CASE WHEN one.lane IS NULL THEN one.route ELSE -one.route END, CASE WHEN hold IS NULL THEN now() ELSE 'infinity' END,
            one.job_id, one.trigger_id, now(), one.lane, one.bucket, hold, CASE WHEN hold IS NOT NULL THEN now() END)
    RETURNING p.id INTO run;
    IF hold = 'R' THEN
        PERFORM rota.rate_tell(ARRAY[one.bucket], ARRAY[one.job_id], ARRAY[now()]);
    ELSIF hold IS NULL THEN
        PERFORM rota.wake(CASE WHEN one.lane IS NULL THEN '' ELSE 'lane' END);
    END IF;
    RETURN run;
END $$;

-- ---- again ----

-- Runs of the history that were run again, or discarded: neither is done twice.
CREATE TABLE rota.settled (
    run_id     bigint PRIMARY KEY,
    by_run     bigint, -- NULL: discarded
    settled_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX settled_at ON rota.settled (settled_at);

-- Runs of the history once more, as new runs with the data and the trigger they had. twice: those, too,
-- that were run again or discarded before. Returns old and new id of each; NULL: its job is gone.
CREATE FUNCTION rota.rerun(runs bigint[], twice boolean DEFAULT false) RETURNS TABLE (run_id bigint, new_run bigint)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    one record;
    fresh bigint;
BEGIN
    FOR one IN
        SELECT DISTINCT ON (h.id) h.id, h.task, h.trigger, h.data, j.id AS job_id, t.id AS trigger_id, j.handler,
               coalesce(t.priority, j.priority) AS priority
          FROM rota.task_history h LEFT JOIN rota.job j ON j.name = h.task
               LEFT JOIN rota.trigger t ON t.name = h.trigger AND t.job_id = j.id
         WHERE h.id = ANY (runs)
         ORDER BY h.id, h.ended_at DESC
    LOOP
        fresh := NULL;
        IF one.job_id IS NOT NULL THEN
            INSERT INTO rota.settled AS s (run_id) VALUES (one.id)
            ON CONFLICT (run_id) DO UPDATE SET settled_at = now() WHERE twice;
            CONTINUE WHEN NOT FOUND;
            SELECT e.run_id INTO fresh
              FROM rota.enqueue_runs(one.task, ARRAY[one.data], NULL, NULL, ARRAY[NULL]::text[], NULL, NULL, NULL, NULL, NULL, NULL) e;
            UPDATE rota.pending p
               SET trigger_id = one.trigger_id,
                   earlier = jsonb_build_array(jsonb_build_object('outcome', 'run again', 'run', one.id))
             WHERE p.id = fresh;
            IF one.trigger_id IS NOT NULL THEN -- whose data may say another lane, or another rate
                PERFORM rota.pending_replace(fresh, one.data, rota.route_of(one.handler, one.priority), NULL);
            END IF;
            UPDATE rota.settled s SET by_run = fresh WHERE s.run_id = one.id;
        END IF;
        RETURN QUERY SELECT one.id::bigint, fresh;
    END LOOP;
END $$;

-- Failed runs of the history that nobody has settled yet: what is run again or discarded in bulk.
CREATE FUNCTION rota.dead_runs(job text DEFAULT NULL, outcome text DEFAULT NULL, since timestamptz DEFAULT NULL,
                               until timestamptz DEFAULT NULL, at_most bigint DEFAULT 1000)
RETURNS SETOF bigint
LANGUAGE sql STABLE AS $$
    SELECT h.id FROM rota.task_history h
     WHERE h.status <> 'success' AND (dead_runs.job IS NULL OR h.task = dead_runs.job)
       AND (dead_runs.outcome IS NULL OR h.outcome = dead_runs.outcome)
       AND h.ended_at >= coalesce(dead_runs.since, '-infinity') AND h.ended_at < coalesce(dead_runs.until, 'infinity')
       AND NOT EXISTS (SELECT FROM rota.settled s WHERE s.run_id = h.id)
     ORDER BY h.ended_at, h.id LIMIT dead_runs.at_most
$$;

-- They are not asked for again. Returns how many were not settled before.
CREATE FUNCTION rota.discard(runs bigint[]) RETURNS bigint
LANGUAGE sql VOLATILE AS $$
    WITH done AS (
        INSERT INTO rota.settled (run_id) SELECT DISTINCT r.id FROM unnest(runs) AS r(id)
         WHERE EXISTS (SELECT FROM rota.task_history h WHERE h.id = r.id)
        ON CONFLICT (run_id) DO NOTHING
        RETURNING 1
    )
    SELECT count(*) FROM done
$$;

-- ---- who is told ----

-- Final failures, just written into the history by this transaction, of jobs that have one to be told:
-- that one is queued with the outcome as its data, however full its queue is. Nothing of it may keep a run
-- from being over.
CREATE FUNCTION rota.failures_tell(runs bigint[]) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    one record;
    untold json[];
BEGIN
    FOR one IN
        SELECT t.name AS told,
               array_agg(json_build_object('run', h.id, 'job', h.task, 'trigger', h.trigger, 'status', h.status,
                                           'outcome', h.outcome, 'attempt', h.attempt, 'node', h.node,
                                           'scheduled_at', h.scheduled_at, 'ended_at', h.ended_at,
                                           'exception', h.task_details -> 'exception',
                                           'message', h.task_details -> 'message') ORDER BY h.id) AS data
          FROM rota.task_history h JOIN rota.job j ON j.name = h.task JOIN rota.job t ON t.name = j.on_failure
         WHERE h.id = ANY (runs) AND h.ended_at = now() AND h.status <> 'success' AND h.outcome <> 'cancelled'
         GROUP BY t.name
    LOOP
        BEGIN
            SELECT array_agg(one.data[e.place]) FILTER (WHERE e.conflict = 'undecided') INTO untold
              FROM rota.enqueue_runs(one.told, one.data, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, true)
                   WITH ORDINALITY AS e(run_id, conflict, place);
            IF untold IS NOT NULL THEN -- rather twice than not at all
                PERFORM rota.enqueue_runs(one.told, untold, NULL, NULL, array_fill(NULL::text, ARRAY[cardinality(untold)]), NULL,
                                          NULL, NULL, NULL, NULL, NULL, true);
            END IF;
        EXCEPTION WHEN invalid_parameter_value OR untranslatable_character THEN
            RAISE WARNING 'job "%" is not told of a failure: %', one.told, SQLERRM;
        END;
    END LOOP;
END $$;

-- All that follows the end of runs whose history this transaction has written.
CREATE FUNCTION rota.runs_ended(runs bigint[]) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM rota.extras_end(runs);
    PERFORM rota.failures_tell(runs);
    DELETE FROM rota.cancel_request c WHERE c.run_id = ANY (runs);
END $$;

-- ---- who may ----

-- These run as the owner of the schema, so that nobody needs to write to its tables. What they call is not
-- for others, and they are for those with the role only: USAGE on the schema is given to readers, too.
REVOKE EXECUTE ON FUNCTION
    rota.enqueue(text, jsonb, timestamptz, integer, text, text, bigint[], interval, text, boolean),
    rota.enqueue_many(text, jsonb[], timestamptz, integer, text[], text, interval),
    rota.enqueue_runs(text, json[], timestamptz, integer, text[], text, bigint[], boolean, interval, text, boolean, boolean),
    rota.fire(text), rota.cancel(bigint, text) FROM PUBLIC;
DO $$
BEGIN
    IF to_regclass('rota.access') IS NOT NULL THEN
        INSERT INTO rota.access (role, privilege) VALUES
            ('enqueuer', 'EXECUTE ON FUNCTION rota.enqueue(text, jsonb, timestamptz, integer, text, text, bigint[], interval, text, boolean)'),
            ('enqueuer', 'EXECUTE ON FUNCTION rota.enqueue_many(text, jsonb[], timestamptz, integer, text[], text, interval)'),
            ('enqueuer', 'EXECUTE ON FUNCTION rota.enqueue_runs(text, json[], timestamptz, integer, text[], text, bigint[], boolean, '
                         'interval, text, boolean, boolean)'),
            ('enqueuer', 'EXECUTE ON FUNCTION rota.fire(text), rota.cancel(bigint, text)');
        PERFORM rota.grant_access();
    END IF;
END $$;

INSERT INTO rota.schema_version (version, name, needs) VALUES (8, '0008_requests', 1);
