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
    IF cardinality(ended) > 0 THEN
        PERFORM rota.after_resolve(ended, false);
    END IF;
END $$;

-- For the leader: acts on all requests once more, but waits for nobody who has a run in his hands. Returns
-- how many it ended where they wait.
CREATE FUNCTION rota.cancel_sweep() RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    asked bigint[] := ARRAY(SELECT c.run_id FROM rota.cancel_request c ORDER BY c.requested_at LIMIT 1000);
    mine bigint[] := ARRAY(SELECT p.id FROM rota.pending p WHERE p.id = ANY (asked) ORDER BY p.id FOR UPDATE SKIP LOCKED);
BEGIN
    asked := ARRAY(SELECT a.id FROM unnest(asked) AS a(id)
                    WHERE a.id = ANY (mine) OR NOT EXISTS (SELECT FROM rota.pending p WHERE p.id = a.id));
    RETURN (SELECT count(*) FROM rota.cancel_act(asked) a WHERE a.answer = 'cancelled');
END $$;

-- Ends a run: at once where it waits (cancelled); where it runs, its worker is told and, if it does not
-- heed that, ended (requested). finished: it is over. not_found: there is no such run.
CREATE FUNCTION rota.cancel(run bigint, reason text DEFAULT 'cancelled') RETURNS text
LANGUAGE plpgsql AS $$
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

-- ---- again ----

-- Runs of the history that were run again, or discarded: neither is done twice.
CREATE TABLE rota.settled (
    run_id     bigint PRIMARY KEY,
    by_run     bigint, -- NULL: discarded
    settled_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX settled_at ON rota.settled (settled_at);

-- Forgets what was settled before the history that is kept begins. Returns how many rows.
CREATE FUNCTION rota.settled_trim() RETURNS bigint
LANGUAGE plpgsql SET timezone = 'UTC' AS $$
DECLARE
    gone bigint;
BEGIN
    DELETE FROM rota.settled s
     WHERE s.run_id = ANY (ARRAY(
               SELECT o.run_id FROM rota.settled o
                WHERE o.settled_at < (SELECT min(to_date(right(c.relname, 8), 'YYYYMMDD'))
                                        FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
                                       WHERE i.inhparent = 'rota.task_history'::regclass)
                ORDER BY o.settled_at LIMIT 10000));
    GET DIAGNOSTICS gone = ROW_COUNT;
    RETURN gone;
END $$;

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
        SELECT DISTINCT ON (h.id) h.id, h.task, h.trigger, h.data, j.id AS job_id, t.id AS trigger_id
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
-- that one is queued with the outcome as its data.
CREATE FUNCTION rota.failures_tell(runs bigint[]) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM rota.enqueue_runs(w.told, w.data, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)
       FROM (SELECT t.name AS told,
                    array_agg(json_build_object('run', h.id, 'job', h.task, 'trigger', h.trigger, 'status', h.status,
                                                'outcome', h.outcome, 'attempt', h.attempt, 'node', h.node,
                                                'scheduled_at', h.scheduled_at, 'ended_at', h.ended_at,
                                                'exception', h.task_details -> 'exception',
                                                'message', h.task_details -> 'message') ORDER BY h.id) AS data
               FROM rota.task_history h JOIN rota.job j ON j.name = h.task JOIN rota.job t ON t.name = j.on_failure
              WHERE h.id = ANY (runs) AND h.ended_at = now() AND h.status <> 'success' AND h.outcome <> 'cancelled'
              GROUP BY t.name) w;
END $$;

-- All that follows the end of runs whose history this transaction has written.
CREATE FUNCTION rota.runs_ended(runs bigint[]) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM rota.extras_end(runs);
    PERFORM rota.failures_tell(runs);
    DELETE FROM rota.cancel_request c WHERE c.run_id = ANY (runs);
END $$;

INSERT INTO rota.schema_version (version, name, needs) VALUES (8, '0008_requests', 1);
