-- What nodes can run, and what a node must know when it starts.

-- Of each handler that is served, in which versions, as the workers say: {"report": ["1.4", "1.5"]}. Handlers
-- whose workers say no version are not in it; nodes older than this leave it empty.
ALTER TABLE rota.incarnation ADD COLUMN versions jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(versions) = 'object');

-- How long it keeps from declaring others dead after a restart of the server. NULL: a node that does not say.
ALTER TABLE rota.incarnation ADD COLUMN lease_ms bigint, ADD COLUMN restart_delay_ms bigint;

CREATE OR REPLACE VIEW rota.node_state AS
    SELECT i.node, i.id AS incarnation, CASE WHEN i.evicted_at IS NULL THEN i.state ELSE 'evicted' END AS state,
           i.started_at, i.renewed_at, i.lease_until, i.version, i.host, i.pid, i.handlers, i.slots, i.http,
           (SELECT coalesce(sum(bit_count(r.open)), 0)::bigint FROM rota.receipt r WHERE r.incarnation = i.id) AS running,
           n.wish, n.wished_at, i.evicted_at, i.versions
      FROM rota.incarnation i JOIN rota.node n ON n.name = i.node;

-- ---- since when the server is known ----

-- On a server not seen before, fences leave a gap that no forgotten ones can have filled, and dead holders
-- get their lock-delay once more, as their last renewals may be forgotten, too. Returns since when: its start,
-- its last crash (a restart after the crash of a backend keeps the start, but not the statistics of the WAL;
-- who resets those by hand makes some wait a little), or the first look at its timeline.
CREATE OR REPLACE FUNCTION rota.cluster_lock_known() RETURNS timestamptz
LANGUAGE plpgsql AS $$
DECLARE
    here bigint := rota.cluster_lock_server();
    key record := rota.cluster_lock_key('');
    seen bigint;
BEGIN
    SELECT m.last_value INTO seen FROM rota.cluster_lock_mark m;
    IF seen <> here THEN
        PERFORM pg_advisory_lock(key.class, key.object); -- of no name: for the next lines only
        SELECT m.last_value INTO seen FROM rota.cluster_lock_mark m;
        IF seen <> here THEN
            PERFORM setval('rota.cluster_lock_fence', nextval('rota.cluster_lock_fence') + 1048576);
            IF seen >> 43 <> here >> 43 THEN
                PERFORM setval('rota.cluster_lock_since', (extract(epoch FROM clock_timestamp()) * 1000)::bigint);
            END IF;
            PERFORM setval('rota.cluster_lock_mark', here);
        END IF;
        PERFORM pg_advisory_unlock(key.class, key.object);
    END IF;
    RETURN greatest(pg_postmaster_start_time(), (SELECT w.stats_reset FROM pg_stat_wal w),
                    (SELECT to_timestamp(s.last_value / 1000.0) FROM rota.cluster_lock_since s));
END $$;

-- For how long. A node that starts when that is little declares nobody dead: the others lost their sessions
-- with the server, too, and get the time to come back.
CREATE FUNCTION rota.server_known() RETURNS interval
LANGUAGE sql VOLATILE AS $$
    SELECT greatest(clock_timestamp() - rota.cluster_lock_known(), interval '0')
$$;

-- ---- another server ----

-- The server as a node last found it, see rota.cluster_lock_server().
CREATE SEQUENCE rota.server_mark MINVALUE 0 CACHE 1;
SELECT setval('rota.server_mark', rota.cluster_lock_server());

-- What a node asks first on each new connection. A server on another timeline may have forgotten what was
-- committed last, one that crashed what was not synchronous: numbers that were given then must not be given
-- again, as somebody may still act under them. So sequences leave a gap that no forgotten ones can have filled.
-- Returns for how many ms the timeline has been known, NULL where it never changed.
CREATE FUNCTION rota.server_meet() RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    here bigint := rota.cluster_lock_server();
    key record := rota.cluster_lock_key('');
    incarnations text := pg_get_serial_sequence('rota.incarnation', 'id');
    seen bigint;
BEGIN
    PERFORM rota.cluster_lock_known();
    SELECT m.last_value INTO seen FROM rota.server_mark m;
    IF seen <> here THEN
        PERFORM pg_advisory_xact_lock(key.class, key.object); -- as rota.cluster_lock_known() does
        SELECT m.last_value INTO seen FROM rota.server_mark m;
        IF seen <> here THEN
            PERFORM setval('rota.fence', nextval('rota.fence') + 1048576);
            PERFORM setval(incarnations, nextval(incarnations) + 1024);
            IF seen >> 43 <> here >> 43 THEN
                PERFORM setval('rota.run_id', nextval('rota.run_id') + 1048576);
            END IF;
            PERFORM setval('rota.server_mark', here);
        END IF;
    END IF;
    RETURN (SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint - s.last_value
              FROM rota.cluster_lock_since s WHERE s.last_value > 0);
END $$;

-- ---- cluster locks ----

ALTER TABLE rota.metabase_cluster_lock ADD COLUMN used_at timestamptz NOT NULL DEFAULT now(); -- obtained last

-- As cluster_lock_free_at(name, wanted), for one who knows the time for the database by a clock that nobody
-- sets: a clock of the database that has jumped ends no lock-delay before its time.
-- believed: the time by that clock; steady: for how long the two have agreed, NULL: as long as he knows.
CREATE FUNCTION rota.cluster_lock_free_at(name text, wanted text, believed timestamptz, steady interval)
RETURNS timestamptz
LANGUAGE sql VOLATILE AS $$
    SELECT greatest(f.free_at + greatest(clock_timestamp() - least(believed, clock_timestamp()), interval '0'),
                    clock_timestamp() + f.longest - steady)
      FROM (SELECT rota.cluster_lock_free_at(name, wanted) AS free_at,
                   (SELECT max(coalesce(d.free_after_ms, 10000)) * interval '1 ms'
                      FROM (SELECT l.free_after_ms FROM rota.metabase_cluster_lock l
                             WHERE l.lock_name = name AND l.holder IS NOT NULL
                               AND coalesce(l.mode, 'exclusive') = 'exclusive'
                            UNION ALL
                            SELECT s.free_after_ms FROM rota.cluster_lock_share s
                             WHERE s.lock_name = name AND wanted = 'exclusive') d) AS longest) f
     WHERE f.free_at IS NOT NULL
$$;

-- Takes the lock for this session, or says why not; never waits. A statement of its own: what it writes is
-- committed by it. `take`: false where the session has the advisory lock in this mode (they are counted,
-- and one is enough for all shared holders of a session).
-- believed, steady: as cluster_lock_free_at() has them.
-- outcome: obtained; busy: somebody has it; left: a dead holder's lock-delay is not over; unnamed: the name
-- has no row yet, see cluster_lock_name.
DROP FUNCTION rota.cluster_lock_try(text, text, text, bigint, boolean);
CREATE FUNCTION rota.cluster_lock_try(name text, wanted text, taker text, free_after bigint, take boolean,
                                      believed timestamptz DEFAULT 'infinity', steady interval DEFAULT NULL,
                                      OUT outcome text, OUT fence bigint, OUT held_by text, OUT free_in_ms bigint)
LANGUAGE plpgsql SET lock_timeout = '1s' AS $$
DECLARE
    key record := rota.cluster_lock_key(name);
    waits timestamptz;
BEGIN
    outcome := 'busy';
    IF wanted = 'share' AND EXISTS (SELECT FROM rota.metabase_cluster_lock l
                                     WHERE l.lock_name = name AND l.wanted_until > clock_timestamp()) THEN
        held_by := 'somebody who waits to have it alone';
        RETURN;
    ELSIF take AND NOT (CASE wanted WHEN 'share' THEN pg_try_advisory_lock_shared(key.class, key.object)
                                    ELSE pg_try_advisory_lock(key.class, key.object) END) THEN
        held_by := rota.cluster_lock_holder(name);
        IF wanted = 'exclusive' THEN
            PERFORM rota.cluster_lock_want(name);
        END IF;
        RETURN;
    END IF;
    -- each statement from here on sees what was committed before the lock was had
    PERFORM FROM rota.metabase_cluster_lock l WHERE l.lock_name = name FOR UPDATE;
    IF NOT FOUND THEN
        outcome := 'unnamed';
    ELSE
        waits := rota.cluster_lock_free_at(name, wanted, believed, steady);
        IF waits > clock_timestamp() THEN
            outcome := 'left';
            held_by := rota.cluster_lock_holder(name);
            free_in_ms := ceil(extract(epoch FROM waits - clock_timestamp()) * 1000);
        ELSE
            outcome := 'obtained';
        END IF;
    END IF;
    IF outcome <> 'obtained' THEN
        IF take THEN
            PERFORM rota.cluster_lock_drop(name, wanted);
        END IF;
        RETURN;
    END IF;
    PERFORM set_config('synchronous_commit', 'on', true); -- a fence must not be drawn twice, whatever crashes
    fence := rota.cluster_lock_draw();
    IF wanted = 'exclusive' THEN
        DELETE FROM rota.cluster_lock_share s WHERE s.lock_name = name;
        UPDATE rota.metabase_cluster_lock l
           SET mode = 'exclusive', fence = cluster_lock_try.fence, holder = taker, acquired_at = clock_timestamp(),
               renewed_at = clock_timestamp(), used_at = clock_timestamp(), free_after_ms = free_after, wanted_until = NULL
         WHERE l.lock_name = name;
    ELSE
        DELETE FROM rota.cluster_lock_share s -- long dead
         WHERE s.lock_name = name
           AND s.renewed_at + s.free_after_ms * interval '1 ms' < clock_timestamp() - interval '1 min';
        INSERT INTO rota.cluster_lock_share (fence, lock_name, holder, free_after_ms)
        VALUES (cluster_lock_try.fence, name, taker, free_after);
        PERFORM rota.cluster_lock_sum_up(name);
        UPDATE rota.metabase_cluster_lock l SET used_at = clock_timestamp()
         WHERE l.lock_name = name AND l.used_at < clock_timestamp() - interval '1 hour'; -- a day is what matters
    END IF;
EXCEPTION WHEN OTHERS OR query_canceled THEN
    IF take THEN -- a rollback does not give it back
        PERFORM rota.cluster_lock_drop(name, wanted);
    END IF;
    RAISE;
END $$;

-- Names that nobody has used for so long go, unless somebody has the lock. A name that comes back gets a new
-- row; fences never go back, as they come from a sequence. Returns how many, 500 at most.
CREATE FUNCTION rota.cluster_lock_sweep(unused interval) RETURNS bigint
LANGUAGE plpgsql SET lock_timeout = '50ms' AS $$
DECLARE
    one text;
    key record;
    gone bigint := 0;
BEGIN
    FOR one IN SELECT l.lock_name FROM rota.metabase_cluster_lock l
                WHERE greatest(l.used_at, l.renewed_at, l.acquired_at) < clock_timestamp() - unused LIMIT 500 LOOP
        key := rota.cluster_lock_key(one);
        CONTINUE WHEN NOT pg_try_advisory_xact_lock(key.class, key.object);
        DELETE FROM rota.metabase_cluster_lock l -- seen again: it may have been used until this moment
         WHERE l.lock_name = one AND greatest(l.used_at, l.renewed_at, l.acquired_at) < clock_timestamp() - unused;
        IF FOUND THEN
            gone := gone + 1;
        END IF;
    END LOOP;
    RETURN gone;
END $$;

-- ---- roles for users ----

-- What users may who are given one of two roles, <schema>_reader and <schema>_enqueuer. Roles are those of the
-- whole server: fleets in other schemas have others; fleets in other databases share them, and a user is kept
-- out of one by CONNECT. Later migrations add rows and call grant_access().
CREATE TABLE rota.access (
    role      text NOT NULL CHECK (role IN ('reader', 'enqueuer')),
    privilege text NOT NULL, -- the middle of a GRANT
    PRIMARY KEY (role, privilege)
);
INSERT INTO rota.access (role, privilege) VALUES
    ('reader', 'USAGE ON SCHEMA rota'),
    ('reader', 'SELECT ON rota.schema_version, rota.run, rota.task, rota.trigger_state, rota.node_state, rota.lane_state'),
    ('reader', 'SELECT ON rota.metabase_cluster_lock, rota.cluster_lock_share'),
    ('reader', 'EXECUTE ON FUNCTION rota.cluster_lock_holder(text)'),
    ('enqueuer', 'USAGE ON SCHEMA rota'),
    ('enqueuer', 'SELECT ON rota.schema_version'),
    ('enqueuer', 'EXECUTE ON FUNCTION rota.cluster_lock(text, interval), rota.cluster_locks(text[], interval)'),
    ('enqueuer', 'EXECUTE ON FUNCTION rota.cluster_lock_known(), rota.cluster_lock_draw(), rota.cluster_lock_free_at(text, text)'),
    ('enqueuer', 'EXECUTE ON FUNCTION rota.cluster_lock_holder(text)');

-- cluster_lock() runs as whoever calls it, as its lock_timeout is his; what it reads and draws is not his.
ALTER FUNCTION rota.cluster_lock_known() SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
ALTER FUNCTION rota.cluster_lock_draw() SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
ALTER FUNCTION rota.cluster_lock_free_at(text, text) SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
ALTER FUNCTION rota.cluster_lock_holder(text) SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
REVOKE EXECUTE ON FUNCTION rota.cluster_lock_known(), rota.cluster_lock_draw(), rota.cluster_lock_free_at(text, text),
    rota.cluster_lock_holder(text) FROM PUBLIC;

-- Makes the roles where the caller may, and grants what is written above to those that are there. Returns the
-- roles that are missing: somebody who may makes them (CREATE ROLE), then this is called again by the owner.
CREATE FUNCTION rota.grant_access() RETURNS text[]
LANGUAGE plpgsql AS $$
DECLARE
    kind text;
    user_role text;
    granted text;
    missing text[] := '{}';
BEGIN
    FOREACH kind IN ARRAY ARRAY['reader', 'enqueuer'] LOOP
        user_role := 'rota' || '_' || kind;
        IF NOT EXISTS (SELECT FROM pg_roles r WHERE r.rolname = user_role) THEN
            BEGIN
                EXECUTE format('CREATE ROLE %I NOLOGIN', user_role);
            EXCEPTION
                WHEN duplicate_object OR unique_violation THEN NULL; -- by another fleet, just now
                WHEN insufficient_privilege THEN missing := missing || user_role;
            END;
        END IF;
        CONTINUE WHEN user_role = ANY (missing);
        FOR granted IN SELECT a.privilege FROM rota.access a WHERE a.role = kind ORDER BY a.privilege LOOP
            EXECUTE format('GRANT %s TO %I', granted, user_role);
        END LOOP;
    END LOOP;
    RETURN missing;
END $$;

DO $$
DECLARE
    missing text[] := rota.grant_access();
BEGIN
    IF missing <> '{}' THEN
        RAISE NOTICE 'roles for users are missing, as % may not make them: %', current_user, array_to_string(missing, ', ')
              USING HINT = format('CREATE ROLE %s; then SELECT rota.grant_access()', array_to_string(missing, '; CREATE ROLE '));
    END IF;
END $$;

INSERT INTO rota.schema_version (version, name, needs) VALUES (5, '0005_capability', 1);
