-- The history by size. Besides its day, what bounds a partition is the number of its rows: the one that is
-- written to is cut at the present moment when it has enough of them, in a transaction that holds up writers
-- for as long as one look at its rows takes. What lies before the cut is closed: its rows are counted by task and status,
-- rows that come late keep the counts exact, and it gets the indexes that lists want, which no insert into
-- the open one pays for. Retention drops closed partitions whole, by these counts.
--
--   late            closed                closed   open         days ahead
--   [MINVALUE, a)   [a, b) … counted …             [c, midnight) empty
--
-- A run may end with a time that lies behind what is kept: its transaction may be hours old. Such rows go to
-- the partition `late`, which is emptied with each drop. It is no DEFAULT partition.
--
-- Nothing waits longer than 50 ms for a lock: whatever is in the way makes the attempt fail (55P03), to be tried again.

-- Partitions that are closed and counted, always those with the lowest bounds. By name: oids do not survive a dump.
CREATE TABLE rota.history_part (
    name      text PRIMARY KEY,
    lower_at  timestamptz NOT NULL,
    upper_at  timestamptz NOT NULL,
    succeeded bigint NOT NULL DEFAULT 0,
    failed    bigint NOT NULL DEFAULT 0,
    unknown   bigint NOT NULL DEFAULT 0,
    closed_at timestamptz NOT NULL DEFAULT now(),
    indexes   integer NOT NULL DEFAULT 0 -- how many of those it has that lists want
);
CREATE TABLE rota.history_count (
    name   text NOT NULL REFERENCES rota.history_part ON DELETE CASCADE,
    task   text NOT NULL,
    status text NOT NULL,
    rows   bigint NOT NULL,
    PRIMARY KEY (task, status, name)
);
CREATE INDEX history_count_name ON rota.history_count (name);

-- What came to closed partitions since they were counted, a row each: nobody waits for another one's counts.
CREATE TABLE rota.history_change (
    name   text NOT NULL,
    task   text NOT NULL,
    status text NOT NULL,
    rows   integer NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

-- All partitions, with their bounds.
CREATE FUNCTION rota.history_parts() RETURNS TABLE (part regclass, name text, lower_at timestamptz, upper_at timestamptz,
                                                    counted boolean)
LANGUAGE sql STABLE SET timezone = 'UTC' SET datestyle = 'ISO, YMD' AS $$
    SELECT c.oid::regclass, c.relname::text, coalesce(b.bound[1]::timestamptz, '-infinity'),
           coalesce(b.bound[2]::timestamptz, 'infinity'), EXISTS (SELECT FROM rota.history_part p WHERE p.name = c.relname)
      FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
           CROSS JOIN LATERAL regexp_match(pg_get_expr(c.relpartbound, c.oid),
                                           'FROM \((?:MINVALUE|''(.*)'')\) TO \((?:MAXVALUE|''(.*)'')\)') AS b(bound)
     WHERE i.inhparent = 'rota.task_history'::regclass
$$;

-- How many rows a partition has, by the density of its first pages: exact where it is small, and never slow.
CREATE FUNCTION rota.history_size(part regclass) RETURNS bigint
LANGUAGE plpgsql STABLE AS $$
DECLARE
    pages bigint := pg_relation_size(part) / current_setting('block_size')::integer;
    sampled bigint;
BEGIN
    EXECUTE format('SELECT count(*) FROM %s WHERE ctid < ''(64,0)''', part) INTO sampled;
    RETURN sampled * greatest(pages, 64) / 64;
END $$;

-- ---- counts ----

-- Rows that come to a closed partition, or leave it, one by one.
CREATE FUNCTION rota.history_recount() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        PERFORM rota.history_forget(TG_TABLE_NAME);
        RETURN NULL;
    END IF;
    IF TG_OP <> 'INSERT' THEN
        INSERT INTO rota.history_change (name, task, status, rows) VALUES (TG_TABLE_NAME, OLD.task, OLD.status, -1);
    END IF;
    IF TG_OP <> 'DELETE' THEN
        INSERT INTO rota.history_change (name, task, status, rows) VALUES (TG_TABLE_NAME, NEW.task, NEW.status, 1);
    END IF;
    RETURN NULL;
END $$;

-- The counts of a partition that has no rows any more.
CREATE FUNCTION rota.history_forget(part text) RETURNS void
LANGUAGE sql VOLATILE AS $$
    DELETE FROM rota.history_change c WHERE c.name = part;
    DELETE FROM rota.history_count c WHERE c.name = part;
    UPDATE rota.history_part p SET succeeded = 0, failed = 0, unknown = 0 WHERE p.name = part;
$$;

-- Puts the changes into the counts. Returns how many there were.
CREATE FUNCTION rota.history_fold() RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    folded bigint;
BEGIN
    WITH gone AS (
        DELETE FROM rota.history_change c RETURNING c.name, c.task, c.status, c.rows
    ), change AS MATERIALIZED (
        SELECT g.name, g.task, g.status, sum(g.rows) AS rows, count(*) AS number FROM gone g
          JOIN rota.history_part p ON p.name = g.name GROUP BY g.name, g.task, g.status
    ), counted AS (
        INSERT INTO rota.history_count AS c (name, task, status, rows)
        SELECT h.name, h.task, h.status, h.rows FROM change h ORDER BY h.task, h.status, h.name
        ON CONFLICT (task, status, name) DO UPDATE SET rows = c.rows + excluded.rows
    ), parted AS (
        UPDATE rota.history_part p
           SET succeeded = p.succeeded + n.succeeded, failed = p.failed + n.failed, unknown = p.unknown + n.unknown
          FROM (SELECT h.name, coalesce(sum(h.rows) FILTER (WHERE h.status = 'success'), 0) AS succeeded,
                       coalesce(sum(h.rows) FILTER (WHERE h.status = 'failed'), 0) AS failed,
                       coalesce(sum(h.rows) FILTER (WHERE h.status = 'unknown'), 0) AS unknown
                  FROM change h GROUP BY h.name) n
         WHERE p.name = n.name
    )
    SELECT coalesce(sum(h.number), 0) INTO folded FROM change h;
    RETURN folded;
END $$;

-- Writes down what a partition has, and sees to it that it stays so. Who comes late waits until it is counted.
CREATE FUNCTION rota.history_close(part regclass, name text, lower_at timestamptz, upper_at timestamptz) RETURNS void
LANGUAGE plpgsql SET lock_timeout = '50ms' AS $$
BEGIN
    EXECUTE format('CREATE TRIGGER history_recount AFTER INSERT OR DELETE OR UPDATE OF task, status ON %s '
                   'FOR EACH ROW EXECUTE FUNCTION rota.history_recount()', part); -- its lock ends all who write
    EXECUTE format('CREATE TRIGGER history_emptied AFTER TRUNCATE ON %s EXECUTE FUNCTION rota.history_recount()', part);
    INSERT INTO rota.history_part (name, lower_at, upper_at) VALUES (name, lower_at, upper_at);
    EXECUTE format('INSERT INTO rota.history_count (name, task, status, rows) '
                   'SELECT %L, h.task, h.status, count(*) FROM %s h GROUP BY h.task, h.status', name, part);
    UPDATE rota.history_part p
       SET succeeded = n.succeeded, failed = n.failed, unknown = n.unknown
      FROM (SELECT coalesce(sum(c.rows) FILTER (WHERE c.status = 'success'), 0) AS succeeded,
                   coalesce(sum(c.rows) FILTER (WHERE c.status = 'failed'), 0) AS failed,
                   coalesce(sum(c.rows) FILTER (WHERE c.status = 'unknown'), 0) AS unknown
              FROM rota.history_count c WHERE c.name = history_close.name) n
     WHERE p.name = history_close.name;
END $$;

-- The indexes that only lists want, one a call: none shall take long. Returns the number of the one that was made.
CREATE FUNCTION rota.history_index(part regclass, name text) RETURNS integer
LANGUAGE plpgsql SET lock_timeout = '50ms' AS $$
DECLARE
    made integer;
BEGIN
    UPDATE rota.history_part p SET indexes = p.indexes + 1 WHERE p.name = history_index.name RETURNING p.indexes INTO made;
    EXECUTE format('CREATE INDEX ON %s ' || (ARRAY['(started_at, id)', '(task, started_at, id)',
                                                   '(status, started_at, id) WHERE status <> ''success''',
                                                   '(task, status, started_at, id) WHERE status <> ''success''',
                                                   '(ended_at, id)', '(duration_ms, id)'])[made], part);
    RETURN made;
END $$;

-- ---- making, cutting, dropping ----

-- Whoever changes partitions does so alone.
CREATE FUNCTION rota.history_mine() RETURNS boolean
LANGUAGE sql VOLATILE AS $$
    SELECT pg_try_advisory_xact_lock(hashtextextended('rota.history_ensure', 0))
$$;

CREATE FUNCTION rota.history_make(name text, lower_at timestamptz, upper_at timestamptz) RETURNS void
LANGUAGE plpgsql SET lock_timeout = '50ms' SET timezone = 'UTC' SET datestyle = 'ISO, YMD' AS $$
BEGIN
    EXECUTE format('CREATE TABLE rota.%I (LIKE rota.task_history INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', name);
    EXECUTE format('ALTER TABLE rota.task_history ATTACH PARTITION rota.%I FOR VALUES FROM (%s) TO (%L)', name,
                   CASE WHEN lower_at = '-infinity' THEN 'MINVALUE' ELSE quote_literal(lower_at::text) END, upper_at);
END $$;

-- The last partition of a day has the day's name.
CREATE FUNCTION rota.history_day(at timestamptz) RETURNS text
LANGUAGE sql STABLE SET timezone = 'UTC' AS $$ SELECT 'task_history_' || to_char(at, 'YYYYMMDD') $$;

CREATE OR REPLACE FUNCTION rota.history_ensure(days integer) RETURNS integer
LANGUAGE plpgsql SET lock_timeout = '50ms' SET timezone = 'UTC' AS $$
DECLARE
    day timestamptz;
    begins timestamptz;
    made integer := 0;
BEGIN
    IF NOT rota.history_mine() THEN
        RETURN 0;
    END IF;
    FOR day IN SELECT d FROM generate_series(current_date::timestamptz, current_date::timestamptz + days * interval '1 day',
                                             interval '1 day') d LOOP
        CONTINUE WHEN to_regclass('rota.' || quote_ident(rota.history_day(day))) IS NOT NULL;
        begins := coalesce((SELECT max(p.upper_at) FROM rota.history_parts() p
                             WHERE p.lower_at < day + interval '1 day' AND p.upper_at > day), day);
        CONTINUE WHEN begins >= day + interval '1 day';
        PERFORM rota.history_make(rota.history_day(day), begins, day + interval '1 day');
        made := made + 1;
    END LOOP;
    RETURN made;
END $$;

-- Ends a partition now, with the rows it has; what ends from now on goes to a new one, which gets its name.
CREATE FUNCTION rota.history_cut_at(part regclass, name text, lower_at timestamptz, upper_at timestamptz) RETURNS text
LANGUAGE plpgsql SET lock_timeout = '50ms' SET timezone = 'UTC' SET datestyle = 'ISO, YMD' AS $$
DECLARE
    at timestamptz;
    closed text;
BEGIN
    LOCK TABLE ONLY rota.task_history IN ACCESS EXCLUSIVE MODE; -- so that the present moment is later than all rows
    at := clock_timestamp();
    EXECUTE format('ALTER TABLE rota.task_history DETACH PARTITION %s', part);
    LOOP
        closed := 'task_history_' || to_char(at, 'YYYYMMDD_HH24MISSUS');
        IF at <= lower_at OR at >= upper_at THEN
            RAISE EXCEPTION 'the clock is not within the partition "%"', name USING ERRCODE = '55000';
        END IF;
        BEGIN
            EXECUTE format('ALTER TABLE rota.task_history ATTACH PARTITION %s FOR VALUES FROM (%L) TO (%L)', part, lower_at, at);
            EXIT;
        EXCEPTION WHEN check_violation THEN -- the clock was set back since
            EXECUTE format('SELECT max(h.ended_at) + interval ''1 us'' FROM %s h', part) INTO at;
        END;
    END LOOP;
    EXECUTE format('ALTER TABLE %s RENAME TO %I', part, closed);
    PERFORM rota.history_make(name, at, upper_at);
    RETURN closed;
END $$;

-- Cuts the open partition if it has as many rows as are wanted. Returns the name of what is closed, or NULL.
CREATE FUNCTION rota.history_cut(wanted bigint) RETURNS text
LANGUAGE plpgsql SET lock_timeout = '50ms' AS $$
DECLARE
    one record;
BEGIN
    IF NOT rota.history_mine() THEN
        RETURN NULL;
    END IF;
    SELECT p.part, p.name, p.lower_at, p.upper_at INTO one FROM rota.history_parts() p
     WHERE p.lower_at < clock_timestamp() AND p.upper_at > clock_timestamp() AND NOT p.counted
       AND p.name = rota.history_day(p.upper_at - interval '1 us'); -- none that was cut by a clock that was ahead
    IF NOT FOUND OR rota.history_size(one.part) < wanted THEN
        RETURN NULL;
    END IF;
    RETURN rota.history_cut_at(one.part, one.name, one.lower_at, one.upper_at);
END $$;

-- Drops the oldest partition, and with it what came late: `late` begins anew, up to the oldest one that stays.
CREATE FUNCTION rota.history_shift(part regclass, name text, upper_at timestamptz) RETURNS void
LANGUAGE plpgsql SET lock_timeout = '50ms' AS $$
BEGIN
    LOCK TABLE ONLY rota.task_history IN ACCESS EXCLUSIVE MODE;
    EXECUTE format('DROP TABLE %s', part);
    DROP TABLE IF EXISTS rota.task_history_late;
    DELETE FROM rota.history_change c WHERE c.name IN (history_shift.name, 'task_history_late');
    DELETE FROM rota.history_part p WHERE p.name IN (history_shift.name, 'task_history_late');
    PERFORM rota.history_make('task_history_late', '-infinity', upper_at);
    PERFORM rota.history_close('rota.task_history_late', 'task_history_late', '-infinity', upper_at);
END $$;

-- Drops the oldest partition if it ended before the given time, and then what came late and ended before it.
-- Returns how many rows went; NULL: there was nothing to drop.
CREATE FUNCTION rota.history_drop_one(before timestamptz) RETURNS bigint
LANGUAGE plpgsql SET lock_timeout = '50ms' AS $$
DECLARE
    one record;
    gone bigint;
BEGIN
    SELECT p.part, p.name, p.upper_at INTO one FROM rota.history_parts() p
     WHERE p.counted AND p.upper_at <= before AND p.name <> 'task_history_late' ORDER BY p.upper_at LIMIT 1;
    IF FOUND THEN
        SELECT sum(p.succeeded + p.failed + p.unknown) INTO gone FROM rota.history_part p
         WHERE p.name IN (one.name, 'task_history_late');
        PERFORM rota.history_shift(one.part, one.name, one.upper_at);
        RETURN gone;
    END IF;
    SELECT nullif(p.succeeded + p.failed + p.unknown, 0) INTO gone FROM rota.history_part p WHERE p.name = 'task_history_late';
    IF gone IS NULL OR to_regclass('rota.task_history_late') IS NULL THEN
        RETURN NULL;
    END IF;
    IF NOT EXISTS (SELECT FROM rota.task_history_late h WHERE h.ended_at >= before) THEN
        TRUNCATE rota.task_history_late;
        RETURN gone;
    END IF;
    DELETE FROM rota.task_history_late h
     WHERE h.ctid = ANY (ARRAY(SELECT o.ctid FROM rota.task_history_late o WHERE o.ended_at < before LIMIT 10000));
    GET DIAGNOSTICS gone = ROW_COUNT;
    RETURN nullif(gone, 0);
END $$;

-- Drops the oldest rows there are, what came late or else the oldest partition, if at least `keep` stay. Returns
-- how many went; NULL: there was nothing to drop.
CREATE FUNCTION rota.history_trim_one(keep bigint) RETURNS bigint
LANGUAGE plpgsql SET lock_timeout = '50ms' AS $$
DECLARE
    oldest record;
    stay bigint;
    part regclass;
    counted bigint;
BEGIN
    SELECT p.name, p.upper_at, p.succeeded + p.failed + p.unknown AS rows INTO oldest FROM rota.history_part p
     WHERE p.name <> 'task_history_late' OR p.succeeded + p.failed + p.unknown > 0
     ORDER BY p.upper_at LIMIT 1;
    IF NOT FOUND OR to_regclass('rota.' || quote_ident(oldest.name)) IS NULL THEN
        RETURN NULL;
    END IF;
    SELECT sum(p.succeeded + p.failed + p.unknown) - oldest.rows INTO stay FROM rota.history_part p;
    FOR part IN SELECT p.part FROM rota.history_parts() p WHERE NOT p.counted AND p.lower_at < clock_timestamp() LOOP
        EXIT WHEN stay >= keep;
        CONTINUE WHEN rota.history_size(part) < keep - stay; -- it grows, and is asked again
        EXECUTE format('SELECT count(*) FROM (SELECT FROM %s LIMIT %s) o', part, keep - stay) INTO counted;
        stay := stay + counted;
    END LOOP;
    IF stay < keep THEN
        RETURN NULL;
    END IF;
    IF oldest.name = 'task_history_late' THEN
        TRUNCATE rota.task_history_late;
    ELSE
        PERFORM rota.history_shift(to_regclass('rota.' || quote_ident(oldest.name)), oldest.name, oldest.upper_at);
    END IF;
    RETURN oldest.rows;
END $$;

-- ---- what is done regularly ----

-- Counts follow what has come late, and partitions that somebody dropped by hand.
CREATE FUNCTION rota.history_tidy() RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM rota.history_change) THEN
        PERFORM rota.history_fold();
    END IF;
    DELETE FROM rota.history_part p WHERE to_regclass('rota.' || quote_ident(p.name)) IS NULL;
END $$;

-- How many rows make a partition: a quarter of what is kept, at least 1,000, so that not each second makes one;
-- at most 250,000, so that a look at all of them takes a moment; more where that would make hundreds of partitions.
CREATE FUNCTION rota.history_wanted(keep bigint) RETURNS bigint
LANGUAGE sql STABLE AS $$
    SELECT greatest(1000, least(CASE WHEN keep > 0 THEN keep / 4 END,
                                greatest(250000, (SELECT sum(p.succeeded + p.failed + p.unknown) FROM rota.history_part p)::bigint / 64)))
$$;

-- Does the next thing that is to be done, and says what: made (partitions), closed, cut, dropped, indexed; busy:
-- somebody else is at it; or no row: nothing is to be done. Each in a transaction of its own, so that no lock is
-- held longer than the thing takes: to be called until there is no row. keep: rows that stay at least, 0: all;
-- age_ms: what is older goes, 0: never; cut_rows: as many make a partition, NULL: as it is best.
CREATE FUNCTION rota.history_step(keep bigint, age_ms bigint, cut_rows bigint DEFAULT NULL)
RETURNS TABLE (did text, name text, rows bigint)
LANGUAGE plpgsql SET lock_timeout = '50ms' AS $$
#variable_conflict use_column
DECLARE
    one record;
BEGIN
    IF NOT rota.history_mine() THEN
        did := 'busy';
        RETURN NEXT;
        RETURN;
    END IF;
    PERFORM rota.history_tidy();
    rows := rota.history_ensure(3);
    IF rows > 0 THEN
        did := 'made';
        RETURN NEXT;
        RETURN;
    END IF;
    SELECT p.part, p.name, p.lower_at, p.upper_at INTO one FROM rota.history_parts() p
     WHERE NOT p.counted AND p.upper_at < clock_timestamp() ORDER BY p.upper_at LIMIT 1;
    IF FOUND THEN
        PERFORM rota.history_close(one.part, one.name, one.lower_at, one.upper_at);
        RETURN QUERY SELECT 'closed', p.name, p.succeeded + p.failed + p.unknown FROM rota.history_part p WHERE p.name = one.name;
        RETURN;
    END IF;
    name := rota.history_cut(coalesce(cut_rows, rota.history_wanted(keep)));
    IF name IS NOT NULL THEN
        did := 'cut';
        RETURN NEXT;
        RETURN;
    END IF;
    rows := CASE WHEN age_ms > 0 THEN rota.history_drop_one(now() - age_ms * interval '1 ms') END;
    rows := CASE WHEN rows IS NULL AND keep > 0 THEN rota.history_trim_one(keep) ELSE rows END;
    IF rows IS NOT NULL THEN
        did := 'dropped';
        RETURN NEXT;
        RETURN;
    END IF;
    SELECT q.part, q.name INTO one FROM rota.history_parts() q JOIN rota.history_part p ON p.name = q.name
     WHERE p.indexes < 6 AND p.name <> 'task_history_late' AND p.upper_at < clock_timestamp() - interval '1 minute'
       AND (SELECT sum(a.succeeded + a.failed + a.unknown) FROM rota.history_part a) > 300000 -- less is quickly read
     ORDER BY p.upper_at DESC LIMIT 1;
    IF FOUND THEN
        rows := rota.history_index(one.part, one.name);
        did := 'indexed';
        name := one.name;
        RETURN NEXT;
    END IF;
END $$;

-- All that is to be done at once, for whoever asks for it by hand or by a job. What is in the way is waited for up
-- to 10 s, without a lock and without a transaction. Returns what became of the history.
CREATE PROCEDURE rota.history_cleanup(keep bigint, age_ms bigint, INOUT dropped_rows bigint DEFAULT 0,
                                      INOUT dropped_partitions bigint DEFAULT 0, INOUT kept_rows bigint DEFAULT 0)
LANGUAGE plpgsql AS $$
#variable_conflict use_variable
DECLARE
    one record;
    patience integer := 100;
BEGIN
    dropped_rows := 0;
    dropped_partitions := 0;
    LOOP
        BEGIN
            SELECT s.did, s.rows INTO one FROM rota.history_step(keep, age_ms) s;
        EXCEPTION WHEN lock_not_available THEN
            SELECT 'busy'::text AS did, 0::bigint AS rows INTO one;
        END;
        COMMIT;
        EXIT WHEN one.did IS NULL;
        IF one.did = 'busy' THEN
            IF patience = 0 THEN
                RAISE EXCEPTION 'a transaction that reads the history for longer than 10 s is in the way'
                      USING ERRCODE = '55P03', HINT = 'rota doctor names old transactions';
            END IF;
            patience := patience - 1;
            PERFORM pg_sleep(0.1);
            COMMIT;
        ELSIF one.did = 'dropped' THEN
            dropped_rows := dropped_rows + one.rows;
            dropped_partitions := dropped_partitions + 1;
        END IF;
    END LOOP;
    kept_rows := rota.task_total() - rota.task_total(with_status => 'started');
END $$;

-- What older nodes call.
CREATE FUNCTION rota.history_close_all() RETURNS void
LANGUAGE plpgsql SET lock_timeout = '50ms' AS $$
BEGIN
    PERFORM rota.history_tidy();
    PERFORM rota.history_close(p.part, p.name, p.lower_at, p.upper_at)
       FROM (SELECT * FROM rota.history_parts() q WHERE NOT q.counted AND q.upper_at < clock_timestamp() ORDER BY q.upper_at) p;
END $$;

CREATE OR REPLACE FUNCTION rota.history_drop(before timestamptz) RETURNS integer
LANGUAGE plpgsql SET lock_timeout = '50ms' AS $$
DECLARE
    dropped integer := 0;
BEGIN
    IF NOT rota.history_mine() THEN
        RETURN 0;
    END IF;
    PERFORM rota.history_close_all();
    WHILE rota.history_drop_one(before) IS NOT NULL LOOP
        dropped := dropped + 1;
    END LOOP;
    RETURN dropped;
END $$;

CREATE OR REPLACE FUNCTION rota.history_trim(keep bigint) RETURNS integer
LANGUAGE plpgsql SET lock_timeout = '50ms' AS $$
DECLARE
    dropped integer := 0;
BEGIN
    IF NOT rota.history_mine() THEN
        RETURN 0;
    END IF;
    PERFORM rota.history_close_all();
    WHILE rota.history_trim_one(keep) IS NOT NULL LOOP
        dropped := dropped + 1;
    END LOOP;
    RETURN dropped;
END $$;

CREATE OR REPLACE FUNCTION rota.settled_trim() RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    gone bigint;
BEGIN
    DELETE FROM rota.settled s
     WHERE s.run_id = ANY (ARRAY(
               SELECT o.run_id FROM rota.settled o
                WHERE o.settled_at < (SELECT min(p.lower_at) FROM rota.history_parts() p WHERE p.lower_at > '-infinity')
                ORDER BY o.settled_at LIMIT 10000));
    GET DIAGNOSTICS gone = ROW_COUNT;
    RETURN gone;
END $$;

-- ---- lists ----

-- How many rows of rota.task there are: what is closed is counted already, what is open is counted now.
CREATE FUNCTION rota.task_total(of_task text DEFAULT NULL, with_status text DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off SET plan_cache_mode = force_custom_plan
AS $$
DECLARE
    closed bigint := 0;
    open bigint := 0;
    started bigint := 0;
    since timestamptz;
BEGIN
    IF with_status IS NULL OR with_status = 'started' THEN
        SELECT count(*) INTO started FROM rota.run r JOIN rota.job j ON j.id = r.job_id
         WHERE r.state = 'started' AND (of_task IS NULL OR j.name = of_task);
    END IF;
    IF with_status IS DISTINCT FROM 'started' THEN
        IF of_task IS NULL THEN
            SELECT coalesce(sum(CASE with_status WHEN 'success' THEN p.succeeded WHEN 'failed' THEN p.failed
                                                 WHEN 'unknown' THEN p.unknown
                                                 ELSE p.succeeded + p.failed + p.unknown END), 0)
              INTO closed FROM rota.history_part p;
        ELSE
            SELECT coalesce(sum(c.rows), 0) INTO closed FROM rota.history_count c
             WHERE c.task = of_task AND (with_status IS NULL OR c.status = with_status);
        END IF;
        SELECT closed + coalesce(sum(c.rows), 0) INTO closed FROM rota.history_change c
         WHERE (of_task IS NULL OR c.task = of_task) AND (with_status IS NULL OR c.status = with_status);
        since := coalesce((SELECT max(p.upper_at) FROM rota.history_part p), '-infinity'); -- known before the plan is made: it leaves out the rest
        SELECT count(*) INTO open FROM rota.task_history h
         WHERE h.ended_at >= since
           AND (of_task IS NULL OR h.task = of_task) AND (with_status IS NULL OR h.status = with_status);
    END IF;
    RETURN closed + open + started;
END $$;

-- The names of all tasks that have a row in rota.task.
CREATE FUNCTION rota.task_names() RETURNS SETOF text
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off SET plan_cache_mode = force_custom_plan
AS $$
DECLARE
    since timestamptz := coalesce((SELECT max(p.upper_at) FROM rota.history_part p), '-infinity');
BEGIN
    RETURN QUERY SELECT n.task
      FROM (SELECT c.task FROM (SELECT k.task, k.rows FROM rota.history_count k
                                UNION ALL SELECT k.task, k.rows FROM rota.history_change k) c
             GROUP BY c.task HAVING sum(c.rows) > 0
            UNION
            SELECT h.task FROM rota.task_history h WHERE h.ended_at >= since
            UNION
            SELECT j.name FROM rota.run r JOIN rota.job j ON j.id = r.job_id WHERE r.state = 'started') n
     ORDER BY n.task COLLATE "C";
END $$;

-- A page of rota.task, in the order of a column (started_at, ended_at, duration, task, status), ties by id, newest
-- first. beyond_id: only what follows the row with this id and this value of the column, as text: the next page
-- without counting from the start. A statement for each wish, so that each has the plan it needs.
CREATE FUNCTION rota.task_page(of_task text DEFAULT NULL, with_status text DEFAULT NULL, sort_column text DEFAULT 'started_at',
                               descending boolean DEFAULT true, at_most bigint DEFAULT NULL, pass bigint DEFAULT 0,
                               beyond_id bigint DEFAULT NULL, beyond_value text DEFAULT NULL) RETURNS SETOF rota.task
LANGUAGE plpgsql STABLE SET jit = off AS $$
DECLARE
    kind text := CASE sort_column WHEN 'started_at' THEN 'timestamptz' WHEN 'ended_at' THEN 'timestamptz'
                                  WHEN 'duration' THEN 'bigint' WHEN 'task' THEN 'text' WHEN 'status' THEN 'text' END;
    after text := '';
BEGIN
    IF kind IS NULL THEN
        RAISE EXCEPTION 'tasks are sorted by started_at, ended_at, duration, task or status, not by "%"', sort_column
              USING ERRCODE = '22023';
    END IF;
    IF of_task IS NOT NULL AND with_status IS NOT NULL AND rota.task_total(of_task, with_status) = 0 THEN
        RETURN; -- nothing to look for among all the others of the task
    END IF;
    IF beyond_id IS NOT NULL THEN -- where it is NULL, it is greater than any value
        after := CASE WHEN beyond_value IS NULL AND descending THEN ' AND (t.%1$I IS NOT NULL OR t.id < $5)'
                      WHEN beyond_value IS NULL THEN ' AND t.%1$I IS NULL AND t.id < $5'
                      WHEN descending THEN ' AND t.%1$I <= $6::%2$s AND (t.%1$I < $6::%2$s OR t.id < $5)'
                      ELSE ' AND (t.%1$I > $6::%2$s OR t.%1$I = $6::%2$s AND t.id < $5 OR t.%1$I IS NULL)' END;
    END IF;
    RETURN QUERY EXECUTE format('SELECT t.* FROM rota.task t WHERE true'
                                || CASE WHEN of_task IS NULL THEN '' ELSE ' AND t.task = $1' END
                                || CASE WHEN with_status IS NULL THEN '' ELSE ' AND t.status = $2' END
                                || after || ' ORDER BY t.%1$I %3$s, t.id DESC LIMIT $3 OFFSET $4',
                                sort_column, kind, CASE WHEN descending THEN 'DESC' ELSE 'ASC' END)
                   USING of_task, with_status, at_most, pass, beyond_id, beyond_value;
END $$;

-- ---- how many are declared ----

-- Jobs and triggers, all (job_id 0) and triggers by job: lists tell their number without counting millions. Kept by
-- whoever declares or removes them, which happens under one lock.
CREATE TABLE rota.tally (
    kind   text NOT NULL CHECK (kind IN ('jobs', 'triggers')),
    job_id integer NOT NULL,
    rows   bigint NOT NULL,
    PRIMARY KEY (kind, job_id)
);
CREATE FUNCTION rota.tally_of(kind text, job integer DEFAULT 0) RETURNS bigint
LANGUAGE sql STABLE AS $$
    SELECT coalesce((SELECT t.rows FROM rota.tally t WHERE t.kind = tally_of.kind AND t.job_id = job), 0)
$$;
CREATE FUNCTION rota.tally_triggers() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP = 'UPDATE' THEN
        UPDATE rota.tally t SET rows = t.rows - 1 WHERE t.kind = 'triggers' AND t.job_id = OLD.job_id;
        INSERT INTO rota.tally AS t (kind, job_id, rows) VALUES ('triggers', NEW.job_id, 1)
        ON CONFLICT (kind, job_id) DO UPDATE SET rows = t.rows + 1;
        RETURN NULL;
    END IF;
    INSERT INTO rota.tally AS t (kind, job_id, rows)
    SELECT 'triggers', c.job_id, CASE TG_OP WHEN 'INSERT' THEN c.number ELSE -c.number END
      FROM (SELECT changed.job_id, count(*) AS number FROM changed GROUP BY changed.job_id
            UNION ALL SELECT 0, count(*) FROM changed HAVING count(*) > 0) c
    ON CONFLICT (kind, job_id) DO UPDATE SET rows = t.rows + excluded.rows;
    IF TG_OP = 'DELETE' THEN
        DELETE FROM rota.tally t
         WHERE t.kind = 'triggers' AND t.job_id = ANY (ARRAY(SELECT changed.job_id FROM changed)) AND t.rows = 0;
    END IF;
    RETURN NULL;
END $$;
CREATE FUNCTION rota.tally_jobs() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO rota.tally AS t (kind, job_id, rows)
    SELECT 'jobs', 0, CASE TG_OP WHEN 'INSERT' THEN count(*) ELSE -count(*) END FROM changed HAVING count(*) > 0
    ON CONFLICT (kind, job_id) DO UPDATE SET rows = t.rows + excluded.rows;
    RETURN NULL;
END $$;
CREATE TRIGGER tally_more AFTER INSERT ON rota.trigger REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION rota.tally_triggers();
CREATE TRIGGER tally_less AFTER DELETE ON rota.trigger REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION rota.tally_triggers();
CREATE TRIGGER tally_moved AFTER UPDATE OF job_id ON rota.trigger
    FOR EACH ROW WHEN (OLD.job_id <> NEW.job_id) EXECUTE FUNCTION rota.tally_triggers();
CREATE TRIGGER tally_more AFTER INSERT ON rota.job REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION rota.tally_jobs();
CREATE TRIGGER tally_less AFTER DELETE ON rota.job REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION rota.tally_jobs();
INSERT INTO rota.tally (kind, job_id, rows)
    SELECT 'triggers', t.job_id, count(*) FROM rota.trigger t GROUP BY t.job_id
    UNION ALL SELECT 'triggers', 0, count(*) FROM rota.trigger t
    UNION ALL SELECT 'jobs', 0, count(*) FROM rota.job j;

-- Lists in their order, and what a source declares, without reading everything.
CREATE INDEX trigger_listed ON rota.trigger (job_id, name);
CREATE INDEX job_source ON rota.job (source);

-- ---- from now on ----

DO $$ BEGIN
    PERFORM rota.history_make('task_history_late', '-infinity', min(p.lower_at)) FROM rota.history_parts() p;
    PERFORM rota.history_close(p.part, p.name, p.lower_at, p.upper_at) FROM rota.history_parts() p
      WHERE p.name = 'task_history_late';
END $$;

REVOKE EXECUTE ON FUNCTION rota.tally_triggers(), rota.tally_jobs(), rota.history_recount(), rota.task_total(text, text), rota.task_names() FROM PUBLIC;
INSERT INTO rota.access (role, privilege) VALUES ('reader', 'EXECUTE ON FUNCTION rota.task_total(text, text), rota.task_names()');
SELECT rota.grant_access();

INSERT INTO rota.schema_version (version, name, needs) VALUES (12, '0012_history', 1);
