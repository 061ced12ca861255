-- Cluster locks: who holds what, by which fence, since when; how they are taken and given back.
--
-- A lock is had by two things together: the advisory lock of its name, which goes with the session, and
-- the row, which says held until its holder clears it. A row that says held under a free advisory lock was
-- left by a holder that died: it is taken over only after the lock-delay, counted from its last renewal.
-- metabase_cluster_lock has the exclusive holder, or sums up the shared ones, which have rows of their own.

ALTER TABLE rota.metabase_cluster_lock
    ADD COLUMN mode         text CHECK (mode IN ('exclusive', 'share')),
    -- after the last renewal, if the holder has died: its lock-delay and the time between two renewals
    ADD COLUMN free_after_ms bigint CHECK (free_after_ms >= 0),
    ADD COLUMN wanted_until timestamptz; -- an exclusive holder waits: no new shared ones until then
ALTER TABLE rota.metabase_cluster_lock SET (fillfactor = 50, autovacuum_vacuum_scale_factor = 0,
                                            autovacuum_vacuum_threshold = 500);
CREATE INDEX metabase_cluster_lock_fence ON rota.metabase_cluster_lock (fence) WHERE fence IS NOT NULL;

CREATE TABLE rota.cluster_lock_share (
    fence         bigint PRIMARY KEY,
    lock_name     varchar(254) NOT NULL REFERENCES rota.metabase_cluster_lock ON DELETE CASCADE,
    holder        text NOT NULL,
    acquired_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    renewed_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    free_after_ms bigint NOT NULL CHECK (free_after_ms >= 0)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);
CREATE INDEX cluster_lock_share_name ON rota.cluster_lock_share (lock_name);

-- Sequences, because a rollback does not undo them and everybody sees them at once: the fence, and the
-- server it was last drawn on (see cluster_lock_server), and when its timeline was first seen (ms).
CREATE SEQUENCE rota.cluster_lock_fence MAXVALUE 9007199254740991 CACHE 1;
CREATE SEQUENCE rota.cluster_lock_mark MINVALUE 0 CACHE 1;
CREATE SEQUENCE rota.cluster_lock_since MINVALUE 0 CACHE 1;

-- The advisory lock of a name, in two parts of a hash that the schema's name is part of.
CREATE FUNCTION rota.cluster_lock_key(name text, OUT class integer, OUT object integer)
LANGUAGE sql IMMUTABLE STRICT AS $$
    SELECT (h.hash >> 32)::integer, ((h.hash << 32) >> 32)::integer
      FROM (SELECT hashtextextended(name, hashtextextended('cluster locks of rota', 0)) AS hash) h
$$;

-- The server by start and timeline: what it has forgotten in a crash or a failover, it forgot then.
CREATE FUNCTION rota.cluster_lock_server() RETURNS bigint
LANGUAGE sql VOLATILE AS $$
    SELECT (extract(epoch FROM pg_postmaster_start_time()) * 1000)::bigint
           + ((('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::bigint & 1048575) << 43)
$$;
SELECT setval('rota.cluster_lock_mark', rota.cluster_lock_server());
SELECT setval('rota.cluster_lock_since', 0);

-- On a server not seen before, fences leave a gap that no forgotten ones can have filled, and dead holders
-- get their lock-delay once more, as their last renewals may be forgotten, too. Returns since when.
CREATE FUNCTION rota.cluster_lock_known() RETURNS timestamptz
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
    RETURN greatest(pg_postmaster_start_time(),
                    (SELECT to_timestamp(s.last_value / 1000.0) FROM rota.cluster_lock_since s));
END $$;

-- A fence: greater than all that were drawn before. To be drawn by whoever holds the lock.
CREATE FUNCTION rota.cluster_lock_draw() RETURNS bigint
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM rota.cluster_lock_known();
    RETURN nextval('rota.cluster_lock_fence');
END $$;

-- For the one who has the advisory lock of the name: until when the rows of dead holders keep him out.
-- In the past or NULL: they do not.
CREATE FUNCTION rota.cluster_lock_free_at(name text, wanted text) RETURNS timestamptz
LANGUAGE plpgsql AS $$
DECLARE
    since timestamptz := rota.cluster_lock_known();
BEGIN
    RETURN (SELECT max(greatest(d.renewed_at, since) + d.free_after_ms * interval '1 ms')
              FROM (SELECT coalesce(l.renewed_at, l.acquired_at) AS renewed_at,
                           coalesce(l.free_after_ms, 10000) AS free_after_ms -- a row written by hand
                      FROM rota.metabase_cluster_lock l
                     WHERE l.lock_name = name AND l.holder IS NOT NULL AND coalesce(l.mode, 'exclusive') = 'exclusive'
                    UNION ALL
                    SELECT s.renewed_at, s.free_after_ms FROM rota.cluster_lock_share s
                     WHERE s.lock_name = name AND wanted = 'exclusive') d);
END $$;

-- Who holds the lock, for people: by its row while that is renewed, by the advisory lock of a transaction,
-- or by the row of a dead one.
CREATE FUNCTION rota.cluster_lock_holder(name text) RETURNS text
LANGUAGE sql VOLATILE AS $$
    SELECT coalesce((SELECT l.holder FROM rota.metabase_cluster_lock l
                      WHERE l.lock_name = name AND l.renewed_at + greatest(l.free_after_ms, 10000) * interval '1 ms'
                                                   > clock_timestamp()),
                    (SELECT 'a transaction of process ' || p.pid ||
                            coalesce(' (' || nullif(a.application_name, '') || ')', '')
                       FROM rota.cluster_lock_key(name) k
                       JOIN pg_locks p ON p.locktype = 'advisory' AND p.objsubid = 2 AND p.granted
                                      AND p.classid = (k.class::bigint & 4294967295)::oid
                                      AND p.objid = (k.object::bigint & 4294967295)::oid
                                      AND p.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
                       LEFT JOIN pg_stat_activity a ON a.pid = p.pid
                      LIMIT 1),
                    (SELECT l.holder FROM rota.metabase_cluster_lock l WHERE l.lock_name = name))
$$;

-- The row of a name sums up its shared holders. Under that row's lock.
CREATE FUNCTION rota.cluster_lock_sum_up(name text) RETURNS void
LANGUAGE sql VOLATILE AS $$
    UPDATE rota.metabase_cluster_lock l
       SET mode = CASE WHEN s.fence IS NOT NULL THEN 'share' END, fence = s.fence,
           holder = s.holder || CASE WHEN s.number > 1 THEN ' and ' || s.number - 1 || ' more' ELSE '' END,
           acquired_at = s.acquired_at, renewed_at = s.renewed_at, free_after_ms = s.free_after_ms
      FROM (VALUES (name)) n(name)
      LEFT JOIN LATERAL (SELECT h.fence, h.holder, h.acquired_at, h.renewed_at, h.free_after_ms, count(*) OVER () AS number
                           FROM rota.cluster_lock_share h WHERE h.lock_name = n.name
                          ORDER BY h.fence DESC LIMIT 1) s ON true
     WHERE l.lock_name = n.name
$$;

-- Nobody else gets it shared while an exclusive holder waits for the shared ones to go.
CREATE FUNCTION rota.cluster_lock_want(name text) RETURNS void
LANGUAGE sql VOLATILE AS $$
    UPDATE rota.metabase_cluster_lock l SET wanted_until = clock_timestamp() + interval '3 s'
     WHERE l.lock_name = name AND l.mode = 'share'
       AND coalesce(l.wanted_until < clock_timestamp() + interval '1500 ms', true)
$$;

-- Takes the lock for this session, or says why not; never waits. A statement of its own: what it writes is
-- committed by it. `take`: false where the session has the advisory lock in this mode (they are counted,
-- and one is enough for all shared holders of a session).
-- outcome: obtained; busy: somebody has it; left: a dead holder's lock-delay is not over; unnamed: the name
-- has no row yet, see cluster_lock_name.
CREATE FUNCTION rota.cluster_lock_try(name text, wanted text, taker text, free_after bigint, take boolean,
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
        waits := rota.cluster_lock_free_at(name, wanted);
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
               renewed_at = clock_timestamp(), free_after_ms = free_after, wanted_until = NULL
         WHERE l.lock_name = name;
    ELSE
        DELETE FROM rota.cluster_lock_share s -- long dead
         WHERE s.lock_name = name
           AND s.renewed_at + s.free_after_ms * interval '1 ms' < clock_timestamp() - interval '1 min';
        INSERT INTO rota.cluster_lock_share (fence, lock_name, holder, free_after_ms)
        VALUES (cluster_lock_try.fence, name, taker, free_after);
        PERFORM rota.cluster_lock_sum_up(name);
    END IF;
EXCEPTION WHEN OTHERS OR query_canceled THEN
    IF take THEN -- a rollback does not give it back
        PERFORM rota.cluster_lock_drop(name, wanted);
    END IF;
    RAISE;
END $$;

-- Gives the session's advisory lock back.
CREATE FUNCTION rota.cluster_lock_drop(name text, mode text) RETURNS boolean
LANGUAGE sql VOLATILE AS $$
    SELECT CASE mode WHEN 'share' THEN pg_advisory_unlock_shared(k.class, k.object)
                     ELSE pg_advisory_unlock(k.class, k.object) END
      FROM rota.cluster_lock_key(name) k
$$;

-- Says that the holder of this fence is done. Whether it still was the holder.
CREATE FUNCTION rota.cluster_lock_clear(name text, mine bigint) RETURNS boolean
LANGUAGE plpgsql SET lock_timeout = '1s' AS $$
BEGIN
    PERFORM FROM rota.metabase_cluster_lock l WHERE l.lock_name = name FOR UPDATE;
    UPDATE rota.metabase_cluster_lock l
       SET mode = NULL, fence = NULL, holder = NULL, acquired_at = NULL, renewed_at = NULL, free_after_ms = NULL
     WHERE l.lock_name = name AND l.fence = mine AND l.mode = 'exclusive';
    IF FOUND THEN
        RETURN true;
    END IF;
    DELETE FROM rota.cluster_lock_share s WHERE s.fence = mine;
    IF FOUND THEN
        PERFORM rota.cluster_lock_sum_up(name);
        RETURN true;
    END IF;
    RETURN false;
END $$;

-- Renews these fences; returns those that are still there. What somebody has locked is passed over: the
-- advisory lock protects it meanwhile.
CREATE FUNCTION rota.cluster_lock_renew(mine bigint[]) RETURNS bigint[]
LANGUAGE plpgsql SET lock_timeout = '500ms' AS $$
BEGIN
    UPDATE rota.metabase_cluster_lock l SET renewed_at = clock_timestamp()
     WHERE l.lock_name = ANY (ARRAY(SELECT w.lock_name FROM rota.metabase_cluster_lock w
                                     WHERE w.fence = ANY (mine) FOR UPDATE SKIP LOCKED));
    UPDATE rota.cluster_lock_share s SET renewed_at = clock_timestamp()
     WHERE s.fence = ANY (ARRAY(SELECT w.fence FROM rota.cluster_lock_share w
                                 WHERE w.fence = ANY (mine) FOR UPDATE SKIP LOCKED));
    RETURN ARRAY(SELECT l.fence FROM rota.metabase_cluster_lock l WHERE l.fence = ANY (mine) AND l.mode = 'exclusive'
                 UNION ALL SELECT s.fence FROM rota.cluster_lock_share s WHERE s.fence = ANY (mine));
END $$;

-- For any driver: takes the lock until the end of the transaction, excludes and is excluded by every other
-- holder. Returns the fence, or raises 55P03 when it is not free within `wait`. Writes no row: whoever looks
-- for the holder finds the transaction.
CREATE FUNCTION rota.cluster_lock(name text, wait interval DEFAULT interval '9 s') RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    key record := rota.cluster_lock_key(name);
    give_up timestamptz := clock_timestamp() + least(wait, interval '20 days');
    before text := current_setting('lock_timeout');
    had boolean;
    waits timestamptz;
    fence bigint;
BEGIN
    IF name IS NULL OR length(name) NOT BETWEEN 1 AND 254 THEN
        RAISE EXCEPTION 'a lock''s name has 1 to 254 characters, this one %', coalesce(length(name)::text, 'is NULL')
              USING ERRCODE = '22023';
    ELSIF wait IS NULL OR wait < interval '0' THEN
        RAISE EXCEPTION 'wait must be an interval of 0 or more, for example ''5 s''' USING ERRCODE = '22023';
    ELSIF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'cluster_lock() needs READ COMMITTED: under % the transaction would go on reading what was there '
                        'before it had the lock', upper(current_setting('transaction_isolation'))
              USING ERRCODE = '0A000', HINT = 'BEGIN ISOLATION LEVEL READ COMMITTED';
    END IF;
    had := pg_try_advisory_xact_lock(key.class, key.object);
    IF NOT had AND wait > interval '0' THEN
        BEGIN
            PERFORM set_config('lock_timeout', greatest(1, ceil(extract(epoch FROM give_up - clock_timestamp()) * 1000))::bigint::text, true);
            PERFORM pg_advisory_xact_lock(key.class, key.object);
            PERFORM set_config('lock_timeout', before, true);
            had := true;
        EXCEPTION WHEN lock_not_available THEN
            had := false;
        END;
    END IF;
    IF had THEN
        LOOP
            waits := rota.cluster_lock_free_at(name, 'exclusive');
            EXIT WHEN waits IS NULL OR waits <= clock_timestamp();
            had := clock_timestamp() < give_up;
            EXIT WHEN NOT had;
            PERFORM pg_sleep(least(0.2, greatest(0.001, extract(epoch FROM least(waits, give_up) - clock_timestamp()))));
        END LOOP;
    END IF;
    IF NOT had THEN
        RAISE EXCEPTION 'Failed to obtain cluster lock: % (held by %)', name, coalesce(rota.cluster_lock_holder(name), 'somebody')
              USING ERRCODE = '55P03';
    END IF;
    fence := rota.cluster_lock_draw();
    PERFORM pg_notify('rota.lock', 'lock ' || name); -- told when the transaction ends, and the lock with it
    RETURN fence;
END $$;

-- Several at once, in the one order that all callers have; returns the greatest fence, which serves for all.
CREATE FUNCTION rota.cluster_locks(names text[], wait interval DEFAULT interval '9 s') RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    give_up timestamptz := clock_timestamp() + least(wait, interval '20 days');
    one text;
    fence bigint;
BEGIN
    FOR one IN SELECT DISTINCT n COLLATE "C" FROM unnest(names) n ORDER BY 1 LOOP
        fence := rota.cluster_lock(one, CASE WHEN wait >= interval '0' THEN greatest(give_up - clock_timestamp(), interval '0')
                                             ELSE wait END);
    END LOOP;
    RETURN fence;
END $$;

INSERT INTO rota.schema_version (version, name, needs) VALUES (4, '0004_cluster_lock', 1);
