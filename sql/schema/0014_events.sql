-- What is seen of the fleet from outside: numbers about all of it, and the log of what changed.

-- ---- events ----

-- What changed, in the order in which it can be read: ids are drawn under a lock that is held until the commit, so
-- that whoever has read up to one has missed none before it. A row is a batch of one node, some hundred
-- milliseconds of it: lines of kind, what they have in common as JSON, and ids of runs, with tabs between.
-- Bounded by a ring of partitions: the oldest is emptied whole.
CREATE SEQUENCE rota.event_id CACHE 1;
CREATE TABLE rota.event (
    slot    smallint NOT NULL,
    id      bigint NOT NULL DEFAULT nextval('rota.event_id'),
    at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    node    text,
    number  bigint, -- the node's own, by which a batch that was sent twice is known
    changes integer NOT NULL,
    body    text NOT NULL
) PARTITION BY LIST (slot);
CREATE TABLE rota.event_0 PARTITION OF rota.event FOR VALUES IN (0);
CREATE TABLE rota.event_1 PARTITION OF rota.event FOR VALUES IN (1);
CREATE TABLE rota.event_2 PARTITION OF rota.event FOR VALUES IN (2);
CREATE TABLE rota.event_3 PARTITION OF rota.event FOR VALUES IN (3);
CREATE INDEX event_place ON rota.event (id);

CREATE TABLE rota.event_ring (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    slot      smallint NOT NULL DEFAULT 0, -- written to now
    forgotten bigint NOT NULL DEFAULT 0    -- the newest id that is not kept any more
) WITH (fillfactor = 10);
INSERT INTO rota.event_ring DEFAULT VALUES;

-- What other transactions have to tell waits here: they must not hold the lock of the log until they commit.
CREATE TABLE rota.event_told (
    id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    body text NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

-- Writes one batch, after what was told. Returns its id; NULL: another writes at this moment, try again.
CREATE FUNCTION rota.event_write(writer text, batch bigint, again boolean, changed integer, lines text) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    now_slot smallint;
    written bigint;
BEGIN
    IF NOT pg_try_advisory_xact_lock(hashtextextended('rota.event', 0)) THEN
        RETURN NULL;
    END IF;
    SELECT r.slot INTO now_slot FROM rota.event_ring r;
    IF EXISTS (SELECT FROM rota.event_told) THEN
        WITH told AS (
            DELETE FROM rota.event_told t WHERE t.id = ANY (ARRAY(SELECT o.id FROM rota.event_told o ORDER BY o.id LIMIT 1000))
            RETURNING t.id, t.at, t.body
        )
        INSERT INTO rota.event (slot, at, changes, body)
        SELECT now_slot, max(t.at), count(*), string_agg(t.body, E'\n' ORDER BY t.id) FROM told t HAVING count(*) > 0
        RETURNING id INTO written;
    END IF;
    IF changed = 0 THEN
        RETURN coalesce(written, 0);
    END IF;
    IF again THEN -- the answer to the last try was lost
        SELECT e.id INTO written FROM rota.event e
         WHERE e.id > (SELECT max(m.id) FROM rota.event m) - 10000 AND e.node = writer AND e.number = batch LIMIT 1;
        IF FOUND THEN
            RETURN written;
        END IF;
    END IF;
    INSERT INTO rota.event (slot, node, number, changes, body) VALUES (now_slot, writer, batch, changed, lines)
    RETURNING id INTO written;
    RETURN written;
END $$;

-- Goes on to the next partition when the present one has its share of $1 bytes. Whether it did.
CREATE FUNCTION rota.event_turn(keep_bytes bigint) RETURNS boolean
LANGUAGE plpgsql SET lock_timeout = '50ms' AS $$
DECLARE
    r rota.event_ring;
    next_slot smallint;
    newest bigint;
BEGIN
    IF NOT pg_try_advisory_xact_lock(hashtextextended('rota.event', 0)) THEN
        RETURN false;
    END IF;
    SELECT * INTO r FROM rota.event_ring FOR UPDATE;
    IF pg_total_relation_size(format('rota.event_%s', r.slot)::regclass) < keep_bytes / 4 THEN
        RETURN false;
    END IF;
    next_slot := (r.slot + 1) % 4;
    SELECT max(e.id) INTO newest FROM rota.event e WHERE e.slot = next_slot;
    EXECUTE format('TRUNCATE rota.event_%s', next_slot);
    UPDATE rota.event_ring g SET slot = next_slot, forgotten = coalesce(newest, g.forgotten);
    RETURN true;
END $$;

-- Definitions, pauses and wishes change by commands and by users' own statements: each statement tells of itself.
CREATE FUNCTION rota.event_tell(kind text, facts jsonb) RETURNS void
LANGUAGE sql AS $$
    INSERT INTO rota.event_told (body) VALUES (kind || E'\t' || facts::text || E'\t');
    SELECT rota.wake('event');
$$;

CREATE FUNCTION rota.event_named() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    named text[];
    many bigint;
BEGIN
    SELECT (array_agg(c.name ORDER BY c.name))[1:100], count(*) INTO named, many FROM changed c;
    IF many > 0 THEN
        PERFORM rota.event_tell(TG_ARGV[0], jsonb_build_object('count', many, 'names', named));
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER event_job_new AFTER INSERT ON rota.job REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION rota.event_named('job.created');
CREATE TRIGGER event_job_changed AFTER UPDATE ON rota.job REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION rota.event_named('job.changed');
CREATE TRIGGER event_job_gone AFTER DELETE ON rota.job REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION rota.event_named('job.deleted');
CREATE TRIGGER event_trigger_new AFTER INSERT ON rota.trigger REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION rota.event_named('trigger.created');
CREATE TRIGGER event_trigger_changed AFTER UPDATE ON rota.trigger REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION rota.event_named('trigger.changed');
CREATE TRIGGER event_trigger_gone AFTER DELETE ON rota.trigger REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION rota.event_named('trigger.deleted');
CREATE TRIGGER event_calendar_new AFTER INSERT ON rota.calendar REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION rota.event_named('calendar.created');
CREATE TRIGGER event_calendar_changed AFTER UPDATE ON rota.calendar REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION rota.event_named('calendar.changed');
CREATE TRIGGER event_calendar_gone AFTER DELETE ON rota.calendar REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION rota.event_named('calendar.deleted');

-- The whole fleet is paused or goes on; other columns of its one row change with every apply.
CREATE FUNCTION rota.event_fleet() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM rota.event_tell(CASE WHEN NEW.paused THEN 'fleet.paused' ELSE 'fleet.resumed' END, '{}');
    RETURN NULL;
END $$;
CREATE TRIGGER event_fleet AFTER UPDATE OF paused ON rota.fleet FOR EACH ROW
    WHEN (OLD.paused IS DISTINCT FROM NEW.paused) EXECUTE FUNCTION rota.event_fleet();

CREATE FUNCTION rota.event_source() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        PERFORM rota.event_tell('source.paused', jsonb_build_object('source', NEW.source));
    ELSE
        PERFORM rota.event_tell('source.resumed', jsonb_build_object('source', OLD.source));
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER event_source AFTER INSERT OR DELETE ON rota.source_pause FOR EACH ROW EXECUTE FUNCTION rota.event_source();

-- A node is asked to be something.
CREATE FUNCTION rota.event_wish() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM rota.event_tell('node.asked', jsonb_build_object('node', NEW.name, 'wish', NEW.wish));
    RETURN NULL;
END $$;
CREATE TRIGGER event_wish AFTER UPDATE OF wish_number ON rota.node FOR EACH ROW
    WHEN (OLD.wish_number IS DISTINCT FROM NEW.wish_number) EXECUTE FUNCTION rota.event_wish();

-- ---- numbers ----

-- The newest reading, for the whole fleet: however many nodes are scraped, and however often, it is
-- made anew once in a while only.
CREATE TABLE rota.fleet_reading (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    at        timestamptz NOT NULL DEFAULT '-infinity',
    took      interval NOT NULL DEFAULT '0',
    numbers   jsonb NOT NULL DEFAULT '[]' -- of [name, label, label, number]
) WITH (fillfactor = 10);
INSERT INTO rota.fleet_reading DEFAULT VALUES;

-- One reading, grouped: each table is looked at once. Times are microseconds.
CREATE FUNCTION rota.fleet_read()
RETURNS TABLE (name text, first text, second text, number bigint)
LANGUAGE sql STABLE AS $$
    WITH due AS MATERIALIZED ( -- by states, as they are shown: pausing counts first
        SELECT CASE WHEN d.paused AND d.state IN ('W', 'B') THEN 'PAUSED'
                    WHEN d.state = 'W' THEN 'WAITING' WHEN d.state = 'B' THEN 'BLOCKED'
                    WHEN d.state = 'E' THEN 'ERROR' ELSE 'COMPLETE' END AS state, count(*) AS triggers
          FROM rota.trigger_due d GROUP BY 1
    ), queued AS MATERIALIZED (
        SELECT p.route, CASE p.held WHEN 'P' THEN 'paused' WHEN 'L' THEN 'lane' WHEN 'A' THEN 'after' WHEN 'R' THEN 'rate'
                                    ELSE CASE WHEN p.due <= now() THEN 'due' ELSE 'scheduled' END END AS state,
               count(*) AS runs, min(p.due) FILTER (WHERE p.held IS NULL AND p.due <= now()) AS oldest
          FROM rota.pending p GROUP BY 1, 2
        UNION ALL
        SELECT b.route, CASE WHEN b.held_due IS NOT NULL THEN 'paused' WHEN b.due <= now() THEN 'due' ELSE 'scheduled' END,
               sum(b.size - b.taken), min(b.due) FILTER (WHERE b.due <= now())
          FROM rota.bundle b GROUP BY 1, 2
    ), waiting AS MATERIALIZED ( -- by priority: of those that are due
        SELECT o.priority, coalesce(sum(q.runs) FILTER (WHERE q.state = 'due'), 0)::bigint AS runs, min(q.oldest) AS oldest
          FROM rota.route o LEFT JOIN queued q ON q.route IN (o.id, -o.id) GROUP BY o.priority
    ), served AS MATERIALIZED (
        SELECT DISTINCT w.handler FROM rota.incarnation i CROSS JOIN LATERAL unnest(i.handlers) AS w(handler)
         WHERE i.state = 'running' AND i.lease_until > now()
    ), route AS MATERIALIZED ( -- the next trigger of each, by the index of claims
        SELECT o.id, o.handler, n.next_at
          FROM rota.route o CROSS JOIN (VALUES (1), (-1)) AS s(sign) LEFT JOIN LATERAL (
               SELECT d.next_at FROM rota.trigger_due d
                WHERE d.route = o.id * s.sign AND d.state = 'W' AND NOT d.paused ORDER BY d.next_at LIMIT 1) n ON true
    ), part AS MATERIALIZED (
        SELECT c.oid, c.reltuples FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
         WHERE i.inhparent = 'rota.task_history'::regclass
    )
    SELECT 'states', s.state, NULL, coalesce((SELECT d.triggers FROM due d WHERE d.state = s.state), 0)
      FROM (VALUES ('WAITING'), ('PAUSED'), ('BLOCKED'), ('ERROR')) AS s(state)
    UNION ALL
    SELECT 'states', 'EXECUTING', NULL, coalesce((SELECT sum(bit_count(r.open)) FROM rota.receipt r), 0)::bigint
    UNION ALL
    SELECT 'queue_depth', w.priority::text, NULL, w.runs FROM waiting w
    UNION ALL
    SELECT 'queue_oldest', w.priority::text, NULL, coalesce(extract(epoch FROM now() - w.oldest) * 1000000, 0)::bigint FROM waiting w
    UNION ALL
    SELECT 'queue_runs', s.state, NULL, coalesce((SELECT sum(q.runs) FROM queued q WHERE q.state = s.state), 0)::bigint
      FROM (VALUES ('due'), ('scheduled'), ('paused'), ('lane'), ('after'), ('rate')) AS s(state)
    UNION ALL
    SELECT 'trigger_oldest', NULL, NULL,
           greatest(coalesce((SELECT extract(epoch FROM now() - min(r.next_at)) * 1000000 FROM route r), 0), 0)::bigint
    UNION ALL
    SELECT 'nodes', i.state, i.version, count(*) FROM rota.incarnation i WHERE i.lease_until > now() GROUP BY i.state, i.version
    UNION ALL
    SELECT 'unserved', NULL, NULL, count(DISTINCT r.handler) FROM route r
     WHERE r.handler NOT IN (SELECT s.handler FROM served s)
       AND (r.next_at IS NOT NULL OR EXISTS (SELECT FROM queued q WHERE q.route IN (r.id, -r.id)))
    UNION ALL
    SELECT 'horizon', NULL, NULL, coalesce((SELECT greatest(extract(epoch FROM now() - min(a.xact_start)), 0) * 1000000
                                              FROM pg_stat_activity a
                                             WHERE (a.backend_xmin IS NOT NULL OR a.backend_xid IS NOT NULL)
                                               AND a.backend_type = 'client backend' AND a.pid <> pg_backend_pid()), 0)::bigint
    UNION ALL
    SELECT t.kind, s.relname::text, NULL, CASE t.kind WHEN 'dead_rows' THEN s.n_dead_tup ELSE s.n_live_tup END
      FROM pg_stat_all_tables s CROSS JOIN (VALUES ('dead_rows'), ('live_rows')) AS t(kind)
     WHERE s.relid IN ('rota.pending'::regclass, 'rota.bundle'::regclass, 'rota.receipt'::regclass, 'rota.trigger_due'::regclass)
    UNION ALL
    SELECT 'notify_usage', NULL, NULL, (pg_notification_queue_usage() * 1000000)::bigint
    UNION ALL
    SELECT 'schema_version', NULL, NULL, max(v.version) FROM rota.schema_version v
    UNION ALL
    SELECT 'history_rows', NULL, NULL, coalesce(sum(greatest(p.reltuples, 0)), 0)::bigint FROM part p
    UNION ALL
    SELECT 'history_partitions', NULL, NULL, count(*) FROM part p
    UNION ALL
    SELECT 'history_bytes', NULL, NULL, coalesce(sum(pg_total_relation_size(p.oid)), 0)::bigint FROM part p
    UNION ALL
    SELECT 'locks_held', NULL, NULL, count(*) FROM rota.metabase_cluster_lock l WHERE l.fence IS NOT NULL
    UNION ALL
    SELECT 'event_bytes', NULL, NULL, coalesce(sum(pg_total_relation_size(i.inhrelid)), 0)::bigint
      FROM pg_inherits i WHERE i.inhparent = 'rota.event'::regclass
$$;

-- The newest reading, made anew when it is older than $1, and than 50 times what the last one took: all
-- scrapes of the fleet together cost a fiftieth of one core at most. Whoever finds another at it takes the old one.
CREATE FUNCTION rota.fleet_numbers(fresh interval)
RETURNS TABLE (numbers jsonb, at timestamptz, took interval)
LANGUAGE plpgsql AS $$
DECLARE
    begun timestamptz := clock_timestamp();
BEGIN
    IF EXISTS (SELECT FROM rota.fleet_reading f WHERE f.at + greatest(fresh, f.took * 50) <= begun)
       AND pg_try_advisory_xact_lock(hashtextextended('rota.fleet_numbers', 0)) THEN
        UPDATE rota.fleet_reading f
           SET numbers = (SELECT jsonb_agg(jsonb_build_array(r.name, r.first, r.second, r.number)) FROM rota.fleet_read() r),
               at = begun, took = clock_timestamp() - begun;
        UPDATE rota.fleet_reading f SET took = clock_timestamp() - begun; -- with what it took to read
    END IF;
    RETURN QUERY SELECT f.numbers, f.at, f.took FROM rota.fleet_reading f;
END $$;

-- ---- traces ----

-- W3C trace context of version 00, as it is handed to workers: what they could not read is refused where it is said.
CREATE FUNCTION rota.traceparent_check(traceparent text) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    IF traceparent !~ '^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$' OR traceparent ~ '^00-(0{32}|.{32}-0{16})' THEN
        RAISE EXCEPTION 'traceparent "%" is no trace context: it looks like 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
              left(traceparent, 100) USING ERRCODE = 'invalid_parameter_value';
    END IF;
    RETURN true;
END $$;
ALTER TABLE rota.run_extra ADD CONSTRAINT run_extra_traceparent
    CHECK (traceparent IS NULL OR rota.traceparent_check(traceparent)) NOT VALID;

INSERT INTO rota.schema_version (version, name, needs) VALUES (14, '0014_events', 1);
