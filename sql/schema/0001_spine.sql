-- The spine: what is declared (job, trigger), what waits (trigger_due, pending), what runs (receipt),
-- what is over (task_history), who runs it (node, incarnation).
--
-- A run is in exactly one place: pending (waiting), one open bit of one receipt (claimed), or
-- task_history (over). Every move from one to the next is a single statement.

DO $$ BEGIN
    IF to_regnamespace('rota') IS NULL THEN
        CREATE SCHEMA rota; -- otherwise made beforehand, for a role that may not
    END IF;
END $$;

-- Migrations that were applied. `needs`: a binary whose newest migration is older than this must not
-- work on the schema (4-digit numbers as in the files' names).
CREATE TABLE rota.schema_version (
    version    integer PRIMARY KEY,
    name       text NOT NULL,
    needs      integer NOT NULL DEFAULT 0,
    applied_at timestamptz NOT NULL DEFAULT now()
);

-- One row: what concerns the whole fleet.
CREATE TABLE rota.fleet (
    singleton           boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    definition_revision bigint NOT NULL DEFAULT 1, -- of the newest change to any definition
    paced_until         timestamptz NOT NULL DEFAULT now() -- made-up runs are spread up to here
) WITH (fillfactor = 10);
INSERT INTO rota.fleet DEFAULT VALUES;

-- What a run needs of a node, as a small number that leads the claim indexes: a node asks only for
-- the routes it can serve, so what it cannot take is never in its way. The priority is part of the
-- route, so that within a route the order is the due time alone and claims merge the routes' heads.
CREATE TABLE rota.route (
    id       integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    handler  text NOT NULL CHECK (handler <> ''),
    priority smallint NOT NULL CHECK (priority BETWEEN 1 AND 100),
    UNIQUE (handler, priority)
);

CREATE TABLE rota.job (
    id                integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name              text NOT NULL UNIQUE CHECK (length(name) BETWEEN 1 AND 254),
    source            text NOT NULL CHECK (source <> ''), -- whoever declared it; sources do not touch each other's
    description       text,
    handler           text NOT NULL CHECK (handler <> ''),
    data              json NOT NULL DEFAULT '{}', -- json, not jsonb: users' bytes stay as they are
    requests_recovery boolean, -- NULL: yes for enqueued runs, no for firings of triggers
    durable           boolean NOT NULL DEFAULT false,
    priority          smallint NOT NULL DEFAULT 5 CHECK (priority BETWEEN 1 AND 100),
    timeout_ms        bigint CHECK (timeout_ms > 0),
    max_attempts      smallint NOT NULL DEFAULT 1 CHECK (max_attempts >= 1),
    backoff           text NOT NULL DEFAULT 'exponential' CHECK (backoff IN ('immediate', 'fixed', 'exponential')),
    retry_initial_ms  bigint NOT NULL DEFAULT 1000 CHECK (retry_initial_ms >= 0),
    retry_max_ms      bigint NOT NULL DEFAULT 3600000 CHECK (retry_max_ms >= 0),
    retry_jitter      real NOT NULL DEFAULT 0.2 CHECK (retry_jitter BETWEEN 0 AND 1),
    max_crashes       smallint NOT NULL DEFAULT 3 CHECK (max_crashes >= 1),
    definition        text NOT NULL, -- canonical form of the declaration: equal text, nothing changed
    revision          bigint NOT NULL, -- fleet.definition_revision when it last changed
    changed_at        timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE rota.trigger (
    id                   integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job_id               integer NOT NULL REFERENCES rota.job ON DELETE CASCADE,
    name                 text NOT NULL UNIQUE CHECK (length(name) BETWEEN 1 AND 254),
    description          text,
    kind                 text NOT NULL CHECK (kind IN ('cron', 'every', 'at')),
    cron                 text CHECK ((kind = 'cron') = (cron IS NOT NULL)),
    every_us             bigint CHECK ((kind = 'every') = (every_us IS NOT NULL) AND every_us > 0),
    repeat_count         bigint CHECK (repeat_count >= 0),
    at                   timestamptz CHECK ((kind = 'at') = (at IS NOT NULL)),
    timezone             text NOT NULL DEFAULT 'UTC',
    start_at             timestamptz NOT NULL, -- declared, or when it was registered; the phase of `every`
    end_at               timestamptz,
    dst_gap              text NOT NULL DEFAULT 'after' CHECK (dst_gap IN ('after', 'skip')),
    dst_overlap          text NOT NULL DEFAULT 'first' CHECK (dst_overlap IN ('first', 'second', 'both')),
    priority             smallint CHECK (priority BETWEEN 1 AND 100), -- NULL: the job's
    data                 json, -- merged over the job's
    misfire              text NOT NULL DEFAULT 'fire_once' CHECK (misfire IN ('fire_once', 'skip', 'fire_all')),
    misfire_tolerance_ms bigint NOT NULL DEFAULT 5000 CHECK (misfire_tolerance_ms >= 0),
    misfire_threshold_ms bigint CHECK (misfire_threshold_ms >= 0), -- NULL: the setting of the node that fires it
    misfire_limit        integer NOT NULL DEFAULT 100 CHECK (misfire_limit >= 0),
    definition           text NOT NULL,
    revision             bigint NOT NULL
);
CREATE INDEX trigger_job ON rota.trigger (job_id);

-- The hot half of a trigger: the one row a firing updates. State W waiting, B blocked, E error,
-- C complete. Narrow, and its claim index is partial: what cannot fire now is not in it.
CREATE TABLE rota.trigger_due (
    trigger_id  integer PRIMARY KEY REFERENCES rota.trigger ON DELETE CASCADE,
    route       integer NOT NULL REFERENCES rota.route,
    state       "char" NOT NULL DEFAULT 'W' CHECK (state IN ('W', 'B', 'E', 'C')),
    paused      boolean NOT NULL DEFAULT false,
    revision    bigint NOT NULL, -- the definition these times were computed from
    next_at     timestamptz CHECK (next_at IS NOT NULL OR state IN ('E', 'C')),
    previous_at timestamptz,
    fired       bigint NOT NULL DEFAULT 0,
    missed      bigint NOT NULL DEFAULT 0, -- occurrences the misfire policy passed over
    misfired    bigint NOT NULL DEFAULT 0, -- runs made up for by the misfire policy
    error       text CHECK ((state = 'E') = (error IS NOT NULL)),
    error_at    timestamptz
) WITH (fillfactor = 85, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500,
        autovacuum_vacuum_cost_delay = 0);
CREATE INDEX trigger_due_claim ON rota.trigger_due (route, next_at) WHERE state = 'W' AND NOT paused;
CREATE INDEX trigger_due_error ON rota.trigger_due (trigger_id) WHERE state = 'E';

-- Every start of a node, and every return after it was declared dead. Holding the session advisory
-- lock on its id says that the process is connected; lease_until says until when it may act.
CREATE TABLE rota.node (
    name         text PRIMARY KEY CHECK (length(name) BETWEEN 1 AND 254),
    first_seen_at timestamptz NOT NULL DEFAULT now(),
    last_seen_at  timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE rota.incarnation (
    id          integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    node        text NOT NULL REFERENCES rota.node,
    state       text NOT NULL CHECK (state IN ('standby', 'running', 'draining', 'disabled')),
    started_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    renewed_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    lease_until timestamptz NOT NULL,
    version     text NOT NULL,
    host        text NOT NULL,
    pid         integer NOT NULL,
    handlers    text[] NOT NULL DEFAULT '{}',
    slots       integer NOT NULL DEFAULT 0,
    http        text,
    backends    text[] NOT NULL DEFAULT '{}' -- application names of its connections: what recovery ends first
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200);
CREATE INDEX incarnation_node ON rota.incarnation (node);

CREATE SEQUENCE rota.fence CACHE 1; -- never cached: a later claim has a greater fence
CREATE SEQUENCE rota.run_id MAXVALUE 9007199254740991 CACHE 50; -- ids stay below 2^53: JSON readers have doubles

-- Runs that wait: for their time, for a slot. No foreign keys on job and route: checking two per run
-- would cost more than the insert; a run whose job is gone ends in the history as such.
CREATE TABLE rota.pending (
    id           bigint PRIMARY KEY DEFAULT nextval('rota.run_id') CHECK (id BETWEEN 1 AND 9007199254740991),
    route        integer NOT NULL,
    due          timestamptz NOT NULL,
    job_id       integer NOT NULL,
    trigger_id   integer,                  -- NULL: enqueued
    scheduled_at timestamptz NOT NULL,     -- the run's own time, whatever delays it since
    enqueued_at  timestamptz NOT NULL DEFAULT now(),
    attempt      smallint NOT NULL DEFAULT 1 CHECK (attempt >= 1),
    crashes      smallint NOT NULL DEFAULT 0, -- workers it killed alone
    missed       integer NOT NULL DEFAULT 0,  -- occurrences this run stands for besides its own
    recovering   boolean NOT NULL DEFAULT false,
    data         json,                     -- NULL: the job's and trigger's
    checkpoint   json,
    earlier      jsonb                     -- array: attempts before this one, newest last, at most 20
) WITH (fillfactor = 100, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000,
        autovacuum_vacuum_insert_scale_factor = 0.2, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX pending_claim ON rota.pending (route, due);

-- Claimed runs: one row a batch, whose id is the fence. The arrays never change; `open` has a bit for
-- each run that is still out and is all that completion touches. The row goes with its last bit, so
-- its presence is the proof that a completion is in time. The foreign key makes a claim that commits
-- after its node was declared dead fail instead of being stuck for ever.
CREATE TABLE rota.receipt (
    fence        bigint PRIMARY KEY DEFAULT nextval('rota.fence'),
    incarnation  integer NOT NULL REFERENCES rota.incarnation,
    claimed_at   timestamptz NOT NULL DEFAULT now(),
    xid          xid8 NOT NULL DEFAULT pg_current_xact_id(),
    open         varbit NOT NULL,
    ids          bigint[] NOT NULL,
    routes       integer[] NOT NULL,
    dues         timestamptz[] NOT NULL,
    job_ids      integer[] NOT NULL,
    trigger_ids  integer[] NOT NULL,
    scheduled_at timestamptz[] NOT NULL,
    enqueued_at  timestamptz[] NOT NULL,
    attempts     smallint[] NOT NULL,
    crashes      smallint[] NOT NULL,
    missed       integer[] NOT NULL,
    recovering   boolean[] NOT NULL,
    data         json[] NOT NULL,
    checkpoints  json[] NOT NULL,
    earlier      jsonb[] NOT NULL,
    CONSTRAINT receipt_open CHECK (bit_count(open) > 0),
    CONSTRAINT receipt_shape CHECK (
        length(open) = cardinality(ids) AND length(open) = cardinality(routes)
        AND length(open) = cardinality(dues) AND length(open) = cardinality(job_ids)
        AND length(open) = cardinality(trigger_ids) AND length(open) = cardinality(scheduled_at)
        AND length(open) = cardinality(enqueued_at) AND length(open) = cardinality(attempts)
        AND length(open) = cardinality(crashes) AND length(open) = cardinality(missed)
        AND length(open) = cardinality(recovering) AND length(open) = cardinality(data)
        AND length(open) = cardinality(checkpoints) AND length(open) = cardinality(earlier))
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000,
        autovacuum_vacuum_cost_delay = 0, toast.autovacuum_vacuum_scale_factor = 0,
        toast.autovacuum_vacuum_threshold = 5000, toast.autovacuum_vacuum_cost_delay = 0);
CREATE INDEX receipt_incarnation ON rota.receipt (incarnation);

-- Runs that are over, one row each, under the run's id. Partitions are cut by day, made ahead and
-- dropped whole; there is no default partition (DETACH CONCURRENTLY is refused beside one).
CREATE TABLE rota.task_history (
    id           bigint NOT NULL,
    task         text NOT NULL,
    trigger      text,
    started_at   timestamptz, -- NULL: it never started
    ended_at     timestamptz NOT NULL,
    duration_ms  bigint,
    status       text NOT NULL CHECK (status IN ('success', 'failed', 'unknown')),
    outcome      text NOT NULL,
    node         text,
    attempt      smallint NOT NULL,
    missed       integer NOT NULL DEFAULT 0,
    scheduled_at timestamptz NOT NULL,
    fence        bigint,
    task_details json
) PARTITION BY RANGE (ended_at);
CREATE INDEX task_history_id ON rota.task_history (id);

-- Cluster locks, however held; see get locks.
CREATE TABLE rota.metabase_cluster_lock (
    lock_name   varchar(254) PRIMARY KEY,
    lock_id     integer GENERATED ALWAYS AS IDENTITY UNIQUE,
    fence       bigint,
    holder      text,
    acquired_at timestamptz,
    renewed_at  timestamptz,
    CHECK ((holder IS NULL) = (fence IS NULL) AND (holder IS NULL) = (acquired_at IS NULL))
);

-- The route for a handler at a priority, made if it is new.
CREATE FUNCTION rota.route_of(wanted_handler text, wanted_priority smallint) RETURNS integer
LANGUAGE plpgsql AS $$
DECLARE
    found integer;
BEGIN
    LOOP
        SELECT r.id INTO found FROM rota.route r
         WHERE r.handler = wanted_handler AND r.priority = wanted_priority;
        EXIT WHEN found IS NOT NULL;
        INSERT INTO rota.route (handler, priority) VALUES (wanted_handler, wanted_priority)
        ON CONFLICT (handler, priority) DO NOTHING;
    END LOOP;
    RETURN found;
END $$;

-- The route of a run that goes back to pending: its own, unless its job's handler has changed since.
CREATE FUNCTION rota.route_now(old_route integer, job integer) RETURNS integer
LANGUAGE sql VOLATILE AS $$
    SELECT coalesce((SELECT rota.route_of(j.handler, r.priority)
                       FROM rota.route r JOIN rota.job j ON j.id = job AND j.handler <> r.handler
                      WHERE r.id = old_route), old_route)
$$;

-- Makes the history's partitions for today and the days ahead. Attaching takes a light lock; a
-- reader in the way makes it fail after 50 ms (55P03), to be tried again, so that no insert queues.
CREATE FUNCTION rota.history_ensure(days integer) RETURNS integer
LANGUAGE plpgsql SET lock_timeout = '50ms' SET timezone = 'UTC' AS $$
DECLARE
    day date;
    made integer := 0;
    part text;
BEGIN
    IF NOT pg_try_advisory_xact_lock(hashtextextended('rota.history_ensure', 0)) THEN
        RETURN 0;
    END IF;
    FOR day IN SELECT d::date FROM generate_series(current_date, current_date + days, interval '1 day') d LOOP
        part := 'task_history_' || to_char(day, 'YYYYMMDD');
        CONTINUE WHEN to_regclass(format('rota.%I', part)) IS NOT NULL;
        EXECUTE format('CREATE TABLE rota.%I (LIKE rota.task_history INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', part);
        EXECUTE format('ALTER TABLE rota.task_history ATTACH PARTITION rota.%I FOR VALUES FROM (%L) TO (%L)',
                       part, day::timestamptz, (day + 1)::timestamptz);
        made := made + 1;
    END LOOP;
    RETURN made;
END $$;

-- Drops the partitions that end before the given time. Returns how many.
CREATE FUNCTION rota.history_drop(before timestamptz) RETURNS integer
LANGUAGE plpgsql SET lock_timeout = '50ms' SET timezone = 'UTC' AS $$
DECLARE
    part regclass;
    dropped integer := 0;
BEGIN
    FOR part IN
        SELECT i.inhrelid::regclass FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
         WHERE i.inhparent = 'rota.task_history'::regclass
           AND to_date(right(c.relname, 8), 'YYYYMMDD') + 1 <= before
         ORDER BY c.relname
    LOOP
        EXECUTE format('DROP TABLE %s', part);
        dropped := dropped + 1;
    END LOOP;
    RETURN dropped;
END $$;

-- Drops the oldest partitions as long as at least `keep` rows stay in the newer ones. Returns how many.
CREATE FUNCTION rota.history_trim(keep bigint) RETURNS integer
LANGUAGE plpgsql SET lock_timeout = '50ms' SET timezone = 'UTC' AS $$
DECLARE
    part record;
    kept bigint := 0;
    rows_of bigint;
    dropped integer := 0;
BEGIN
    FOR part IN
        SELECT i.inhrelid::regclass AS name, c.reltuples
          FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
         WHERE i.inhparent = 'rota.task_history'::regclass AND to_date(right(c.relname, 8), 'YYYYMMDD') <= current_date
         ORDER BY c.relname DESC
    LOOP
        IF kept >= keep THEN
            EXECUTE format('DROP TABLE %s', part.name);
            dropped := dropped + 1;
            CONTINUE;
        END IF;
        -- counting is exact while it is cheap; beyond that the statistics of autovacuum are good enough
        EXECUTE format('SELECT count(*) FROM (SELECT FROM %s LIMIT %s) AS counted', part.name, least(keep - kept, 1000000)) INTO rows_of;
        kept := kept + greatest(rows_of, part.reltuples::bigint);
    END LOOP;
    RETURN dropped;
END $$;

SELECT rota.history_ensure(3);

-- The open runs of a receipt, with their bit.
CREATE FUNCTION rota.receipt_runs(r rota.receipt)
RETURNS TABLE (slot integer, id bigint, route integer, due timestamptz, job_id integer, trigger_id integer,
               scheduled_at timestamptz, enqueued_at timestamptz, attempt smallint, crashes smallint,
               missed integer, recovering boolean, data json, checkpoint json, earlier jsonb)
LANGUAGE sql STABLE AS $$
    SELECT (u.place - 1)::integer, u.id, u.route, u.due, u.job_id, u.trigger_id, u.scheduled_at, u.enqueued_at,
           u.attempt, u.crashes, u.missed, u.recovering, u.data, u.checkpoint, u.earlier
      FROM unnest(r.ids, r.routes, r.dues, r.job_ids, r.trigger_ids, r.scheduled_at, r.enqueued_at, r.attempts,
                  r.crashes, r.missed, r.recovering, r.data, r.checkpoints, r.earlier)
           WITH ORDINALITY AS u(id, route, due, job_id, trigger_id, scheduled_at, enqueued_at, attempt, crashes,
                                missed, recovering, data, checkpoint, earlier, place)
     WHERE get_bit(r.open, (u.place - 1)::integer) = 1
$$;

-- Adds an entry to the earlier attempts of a run and keeps the newest 20.
CREATE FUNCTION rota.earlier_add(earlier jsonb, entry jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN entry IS NULL THEN earlier
                ELSE (SELECT jsonb_agg(e ORDER BY place)
                        FROM (SELECT e, place
                                FROM jsonb_array_elements(coalesce(earlier, '[]') || jsonb_build_array(entry))
                                     WITH ORDINALITY AS x(e, place)
                               ORDER BY place DESC LIMIT 20) newest) END
$$;

-- Takes what a dead incarnation held and deletes it, in one transaction that holds its row: a claim
-- of its that commits later fails on the key. Runs that ask for recovery, or have attempts left, go
-- back to pending; the others end as unknown. Old nodes call this too: they need not know the
-- columns of a newer receipt. Returns no row when somebody else was faster.
CREATE FUNCTION rota.recover(dead integer) RETURNS TABLE (put_back bigint, lost bigint)
LANGUAGE plpgsql AS $$
DECLARE
    dead_node text;
BEGIN
    SELECT i.node INTO dead_node FROM rota.incarnation i WHERE i.id = dead FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    WITH taken AS MATERIALIZED (
        DELETE FROM rota.receipt r WHERE r.incarnation = dead RETURNING r
    ), run AS MATERIALIZED (
        SELECT o.*, (t.r).fence AS fence, (t.r).claimed_at AS claimed_at, j.name AS task, g.name AS trigger_name,
               coalesce(j.requests_recovery, o.trigger_id IS NULL) AS recover,
               o.attempt < j.max_attempts AS attempts_left,
               jsonb_build_object('attempt', o.attempt, 'node', dead_node, 'started_at', (t.r).claimed_at,
                                  'outcome', 'lost', 'message', 'the node died') AS entry
          FROM taken t CROSS JOIN LATERAL rota.receipt_runs(t.r) o
          LEFT JOIN rota.job j ON j.id = o.job_id
          LEFT JOIN rota.trigger g ON g.id = o.trigger_id
    ), back AS (
        INSERT INTO rota.pending (id, route, due, job_id, trigger_id, scheduled_at, enqueued_at, attempt, crashes,
                                  missed, recovering, data, checkpoint, earlier)
        SELECT w.id, rota.route_now(w.route, w.job_id), now(), w.job_id, w.trigger_id, w.scheduled_at, w.enqueued_at,
               CASE WHEN w.recover THEN w.attempt ELSE w.attempt + 1 END, w.crashes, w.missed, true, w.data,
               w.checkpoint, rota.earlier_add(w.earlier, w.entry)
          FROM run w WHERE w.recover OR w.attempts_left
        RETURNING 1
    ), over AS (
        INSERT INTO rota.task_history (id, task, trigger, started_at, ended_at, status, outcome, node, attempt,
                                       missed, scheduled_at, fence, task_details)
        SELECT w.id, coalesce(w.task, '(deleted job)'), w.trigger_name, w.claimed_at, now(), 'unknown', 'lost', dead_node,
               w.attempt, w.missed, w.scheduled_at, w.fence,
               jsonb_strip_nulls(jsonb_build_object('status', 'unknown', 'message',
                   'node ' || dead_node || ' died while it ran this', 'attempts', w.earlier))::json
          FROM run w WHERE NOT coalesce(w.recover OR w.attempts_left, false)
        RETURNING 1
    )
    SELECT (SELECT count(*) FROM back), (SELECT count(*) FROM over) INTO put_back, lost;
    DELETE FROM rota.incarnation i WHERE i.id = dead;
    IF put_back > 0 THEN
        PERFORM pg_notify('rota.wake', '');
    END IF;
    RETURN NEXT;
END $$;

-- Puts claimed runs back to pending, whole: those a node hands over unstarted, retries, snoozes,
-- those whose worker died. One array element a run; `entry` NULL: nothing to tell of this attempt.
-- Returns how many of them were still its.
CREATE FUNCTION rota.put_back(mine integer, fences bigint[], slots integer[], delays_ms bigint[],
                              more_attempts integer[], more_crashes integer[], recovering boolean[],
                              entries jsonb[]) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    moved bigint;
BEGIN
    WITH wish AS MATERIALIZED (
        SELECT * FROM unnest(fences, slots, delays_ms, more_attempts, more_crashes, recovering, entries)
                      AS w(fence, slot, delay_ms, more_attempt, more_crash, recovering, entry)
    ), held AS MATERIALIZED (
        SELECT r FROM rota.receipt r
         WHERE r.incarnation = mine AND r.fence IN (SELECT w.fence FROM wish w)
         ORDER BY r.fence FOR UPDATE
    ), taken AS MATERIALIZED ( -- each receipt is unpacked once
        SELECT (h.r).fence AS fence, o.* FROM held h CROSS JOIN LATERAL rota.receipt_runs(h.r) o
    ), run AS MATERIALIZED (
        SELECT w.delay_ms, w.more_attempt, w.more_crash, w.recovering AS now_recovering, w.entry, t.*
          FROM taken t JOIN wish w ON w.fence = t.fence AND w.slot = t.slot
    ), rest AS MATERIALIZED (
        SELECT (h.r).fence AS fence, bit_and(set_bit((h.r).open, run.slot, 0))::varbit AS open
          FROM held h JOIN run ON run.fence = (h.r).fence
         GROUP BY (h.r).fence
    ), gone AS (
        DELETE FROM rota.receipt r USING rest WHERE r.fence = rest.fence AND bit_count(rest.open) = 0
    ), kept AS (
        UPDATE rota.receipt r SET open = rest.open FROM rest
         WHERE r.fence = rest.fence AND bit_count(rest.open) > 0
    ), back AS (
        INSERT INTO rota.pending (id, route, due, job_id, trigger_id, scheduled_at, enqueued_at, attempt, crashes,
                                  missed, recovering, data, checkpoint, earlier)
        SELECT run.id, rota.route_now(run.route, run.job_id),
               CASE WHEN run.delay_ms > 0 THEN now() + run.delay_ms * interval '1 ms' ELSE run.due END,
               run.job_id, run.trigger_id, run.scheduled_at, run.enqueued_at, run.attempt + run.more_attempt,
               run.crashes + run.more_crash, run.missed, run.recovering OR run.now_recovering, run.data,
               run.checkpoint,
               CASE WHEN run.entry IS NULL THEN run.earlier ELSE rota.earlier_add(run.earlier, run.entry) END
          FROM run
        RETURNING 1
    )
    SELECT count(*) INTO moved FROM back;
    IF moved > 0 THEN
        PERFORM pg_notify('rota.wake', '');
    END IF;
    RETURN moved;
END $$;

-- Runs that are not over yet: waiting and started.
CREATE VIEW rota.run AS
    SELECT p.id, 'pending'::text AS state, p.job_id, p.trigger_id, p.due, p.scheduled_at, p.enqueued_at,
           p.attempt, p.missed, p.recovering, NULL::text AS node, NULL::timestamptz AS started_at, NULL::bigint AS fence
      FROM rota.pending p
    UNION ALL
    SELECT o.id, 'started', o.job_id, o.trigger_id, o.due, o.scheduled_at, o.enqueued_at, o.attempt, o.missed,
           o.recovering, i.node, r.claimed_at, r.fence
      FROM rota.receipt r JOIN rota.incarnation i ON i.id = r.incarnation
           CROSS JOIN LATERAL rota.receipt_runs(r) o;

-- The API's view of runs that have started: running and over.
CREATE VIEW rota.task AS
    SELECT r.id, j.name AS task, NULL::integer AS db_id, r.started_at, NULL::timestamptz AS ended_at,
           NULL::bigint AS duration, NULL::json AS task_details, 'started'::text AS status, NULL::json AS logs,
           NULL::text AS outcome, r.node, r.attempt, r.scheduled_at, t.name AS trigger
      FROM rota.run r JOIN rota.job j ON j.id = r.job_id LEFT JOIN rota.trigger t ON t.id = r.trigger_id
     WHERE r.state = 'started'
    UNION ALL
    SELECT h.id, h.task, NULL, h.started_at, h.ended_at, h.duration_ms, h.task_details, h.status, NULL, h.outcome,
           h.node, h.attempt, h.scheduled_at, h.trigger
      FROM rota.task_history h;

CREATE VIEW rota.trigger_state AS
    SELECT t.name AS trigger, j.name AS job, j.source, t.kind,
           coalesce(t.cron, t.every_us / 1000 || ' ms', t.at::text) AS schedule, t.timezone,
           CASE d.state WHEN 'W' THEN 'waiting' WHEN 'B' THEN 'blocked' WHEN 'E' THEN 'error' ELSE 'complete' END AS state,
           d.paused, d.next_at, d.previous_at, d.fired, d.missed, d.misfired, d.error, d.error_at, t.start_at, t.end_at,
           coalesce(t.priority, j.priority) AS priority, j.handler,
           EXISTS (SELECT FROM rota.incarnation i WHERE j.handler = ANY (i.handlers)) AS served
      FROM rota.trigger t JOIN rota.job j ON j.id = t.job_id JOIN rota.trigger_due d ON d.trigger_id = t.id;

CREATE VIEW rota.node_state AS
    SELECT i.node, i.id AS incarnation, i.state, i.started_at, i.renewed_at, i.lease_until, i.version, i.host, i.pid,
           i.handlers, i.slots, i.http,
           (SELECT coalesce(sum(bit_count(r.open)), 0)::bigint FROM rota.receipt r WHERE r.incarnation = i.id) AS running
      FROM rota.incarnation i;

INSERT INTO rota.schema_version (version, name, needs) VALUES (1, '0001_spine', 1);
