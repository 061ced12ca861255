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
    over bigint[];
    one record;
BEGIN
    FOR turn IN 1 .. 5 LOOP -- a run that comes back from a node between two statements is looked for again
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

-- The same for many; each is answered once.
CREATE FUNCTION rota.cancel_many(runs bigint[], reason text DEFAULT 'cancelled') RETURNS TABLE (run_id bigint, answer text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    INSERT INTO rota.cancel_request (run_id, reason)
    SELECT DISTINCT r.id, left(coalesce(cancel_many.reason, 'cancelled'), 250) FROM unnest(runs) AS r(id)
     WHERE r.id IS NOT NULL ORDER BY r.id
    ON CONFLICT (run_id) DO NOTHING;
    RETURN QUERY SELECT a.run_id, a.answer FROM rota.cancel_act(ARRAY(SELECT DISTINCT r.id FROM unnest(runs) AS r(id)
                                                                       WHERE r.id IS NOT NULL ORDER BY r.id)) a;
    IF EXISTS (SELECT FROM rota.cancel_request c WHERE c.run_id = ANY (runs)) THEN
        PERFORM pg_notify('rota.wake', 'cancel');
    END IF;
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
    again record;
    fresh bigint[];
BEGIN
    FOR one IN
        SELECT w.task, w.job_id, array_agg(w.id ORDER BY w.id) AS ids
          FROM (SELECT DISTINCT h.id, h.task, j.id AS job_id FROM rota.task_history h LEFT JOIN rota.job j ON j.name = h.task
                 WHERE h.id = ANY (runs)) w
         GROUP BY w.task, w.job_id ORDER BY w.task
    LOOP
        IF one.job_id IS NULL THEN
            RETURN QUERY SELECT i.id, NULL::bigint FROM unnest(one.ids) AS i(id);
            CONTINUE;
        END IF;
        WITH won AS (
            INSERT INTO rota.settled AS s (run_id) SELECT i.id FROM unnest(one.ids) AS i(id) ORDER BY i.id
            ON CONFLICT (run_id) DO UPDATE SET settled_at = now() WHERE twice
            RETURNING s.run_id
        )
        SELECT array_agg(w.id ORDER BY w.id) AS ids, array_agg(w.data ORDER BY w.id) AS data,
               array_agg(w.trigger_id ORDER BY w.id) AS triggers, array_agg(w.route ORDER BY w.id) AS routes,
               count(w.trigger_id) AS fired
          INTO again
          FROM (SELECT DISTINCT ON (h.id) h.id, h.data, t.id AS trigger_id,
                       CASE WHEN t.id IS NOT NULL THEN rota.route_of(j.handler, coalesce(t.priority, j.priority)) END AS route
                  FROM won JOIN rota.task_history h ON h.id = won.run_id JOIN rota.job j ON j.id = one.job_id
                       LEFT JOIN rota.trigger t ON t.name = h.trigger AND t.job_id = j.id
                 ORDER BY h.id, h.ended_at DESC) w;
        CONTINUE WHEN again.ids IS NULL;
        fresh := ARRAY(SELECT e.run_id
                         FROM rota.enqueue_runs(one.task, again.data, NULL, NULL, array_fill(NULL::text, ARRAY[cardinality(again.ids)]),
                                                NULL, NULL, NULL, NULL, NULL, NULL)
                              WITH ORDINALITY AS e(run_id, conflict, place) ORDER BY e.place);
        UPDATE rota.pending p
           SET trigger_id = w.trigger_id,
               earlier = jsonb_build_array(jsonb_build_object('outcome', 'run again', 'run', w.id))
          FROM unnest(fresh, again.ids, again.triggers) AS w(fresh, id, trigger_id)
         WHERE p.id = w.fresh;
        IF again.fired > 0 THEN -- whose data may say another lane, or another rate
            PERFORM rota.pending_replace(w.fresh, w.data, w.route, NULL)
               FROM unnest(fresh, again.data, again.routes) AS w(fresh, data, route) WHERE w.route IS NOT NULL;
        END IF;
        UPDATE rota.settled s SET by_run = w.fresh FROM unnest(fresh, again.ids) AS w(fresh, id) WHERE s.run_id = w.id;
        RETURN QUERY SELECT w.id, w.fresh FROM unnest(fresh, again.ids) AS w(fresh, id);
    END LOOP;
END $$;

-- Failed runs of the history that nobody has settled yet, oldest first: what is run again or discarded in
-- bulk. outcome: NULL for all but cancelled and expired, which somebody wanted. beyond: the newest id of those
-- that ended at `since` and were seen already. runnable: only those whose job is there.
CREATE FUNCTION rota.dead_runs(job text DEFAULT NULL, outcome text DEFAULT NULL, since timestamptz DEFAULT NULL,
                               until timestamptz DEFAULT NULL, at_most bigint DEFAULT 1000, beyond bigint DEFAULT NULL,
                               runnable boolean DEFAULT false)
RETURNS TABLE (id bigint, task text, outcome text, ended_at timestamptz)
LANGUAGE sql STABLE AS $$
    SELECT h.id, h.task, h.outcome, h.ended_at FROM rota.task_history h
     WHERE h.status <> 'success' AND (dead_runs.job IS NULL OR h.task = dead_runs.job)
       AND CASE WHEN $2 IS NULL THEN h.outcome NOT IN ('cancelled', 'expired') ELSE h.outcome = $2 END
       AND h.ended_at >= coalesce(dead_runs.since, '-infinity') AND h.ended_at < coalesce(dead_runs.until, 'infinity')
       AND (dead_runs.beyond IS NULL OR (h.ended_at, h.id) > (dead_runs.since, dead_runs.beyond))
       AND NOT EXISTS (SELECT FROM rota.settled s WHERE s.run_id = h.id)
       AND (NOT dead_runs.runnable OR EXISTS (SELECT FROM rota.job j WHERE j.name = h.task))
     ORDER BY h.ended_at, h.id LIMIT dead_runs.at_most
$$;

-- They are not asked for again. Returns how many were not settled before.
CREATE FUNCTION rota.discard(runs bigint[]) RETURNS bigint
LANGUAGE sql VOLATILE AS $$
    WITH done AS (
        INSERT INTO rota.settled (run_id) SELECT DISTINCT r.id FROM unnest(runs) AS r(id)
         WHERE EXISTS (SELECT FROM rota.task_history h WHERE h.id = r.id)
         ORDER BY r.id -- two who discard the same do not deadlock
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
                                           'exception', rota.json_part(h.task_details, 'exception'),
                                           'message', rota.json_part(h.task_details, 'message')) ORDER BY h.id) AS data
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
        EXCEPTION WHEN invalid_parameter_value OR untranslatable_character OR invalid_text_representation THEN
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
    rota.fire(text), rota.cancel(bigint, text), rota.cancel_many(bigint[], text) FROM PUBLIC;
INSERT INTO rota.access (role, privilege) VALUES
    ('enqueuer', 'EXECUTE ON FUNCTION rota.enqueue(text, jsonb, timestamptz, integer, text, text, bigint[], interval, text, boolean)'),
    ('enqueuer', 'EXECUTE ON FUNCTION rota.enqueue_many(text, jsonb[], timestamptz, integer, text[], text, interval)'),
    ('enqueuer', 'EXECUTE ON FUNCTION rota.enqueue_runs(text, json[], timestamptz, integer, text[], text, bigint[], boolean, '
                 'interval, text, boolean, boolean)'),
    ('enqueuer', 'EXECUTE ON FUNCTION rota.fire(text), rota.cancel(bigint, text), rota.cancel_many(bigint[], text)');
SELECT rota.grant_access();

INSERT INTO rota.schema_version (version, name, needs) VALUES (8, '0008_requests', 1);
