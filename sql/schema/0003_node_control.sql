-- Control of nodes from anywhere: what a node is asked to be is a wish in its row, told by NOTIFY and read
-- at each heartbeat, so that a lost notification only delays it.
--
-- `run` and `drain` are for the process that is there: one that is started later does what its settings
-- say. `standby` and `evict` hold until `run`, whatever is started under the name.

ALTER TABLE rota.node
    ADD COLUMN wish text CHECK (wish IN ('run', 'standby', 'drain', 'hurry', 'evict')), -- NULL: never asked
    ADD COLUMN wish_number bigint NOT NULL DEFAULT 0, -- counts them: a node obeys each once
    ADD COLUMN wished_at timestamptz;

-- Since then it may not renew its lease, nor take its lock again: it is dead, whether it knows or not.
ALTER TABLE rota.incarnation ADD COLUMN evicted_at timestamptz;

-- Records a wish: run, standby, drain, evict. `wish` is what was recorded: a second drain is `hurry`.
-- `state` is that of the node before: NULL, it is gone. `already`: there was nothing to change. One that
-- is evicted may not act any more when this has been committed; node_evict does the rest. 22023: no such
-- wish; 55000: not in this state.
CREATE FUNCTION rota.node_wish(wanted_node text, wanted text)
RETURNS TABLE (known boolean, state text, wish text, already boolean)
LANGUAGE plpgsql AS $$
DECLARE
    before rota.node;
    live rota.incarnation;
BEGIN
    IF wanted IS NULL OR wanted NOT IN ('run', 'standby', 'drain', 'evict') THEN
        RAISE EXCEPTION 'no node can be told to "%": run, standby, drain or evict', wanted USING ERRCODE = '22023';
    END IF;
    SELECT * INTO before FROM rota.node n WHERE n.name = wanted_node FOR UPDATE;
    known := FOUND;
    SELECT * INTO live FROM rota.incarnation i
     WHERE i.node = wanted_node AND i.evicted_at IS NULL ORDER BY i.id DESC LIMIT 1;
    state := live.state;
    wish := wanted;
    IF state = 'draining' AND wanted IN ('run', 'standby') THEN
        RAISE EXCEPTION 'node "%" is draining, which cannot be taken back: start it again', wanted_node
              USING ERRCODE = '55000';
    ELSIF state = 'disabled' AND wanted = 'run' THEN
        RAISE EXCEPTION 'node "%" is disabled by its setting disable_scheduler: start it without', wanted_node
              USING ERRCODE = '55000';
    ELSIF wanted = 'drain' AND (state = 'draining' OR before.wish = 'drain' AND before.wished_at > live.started_at) THEN
        wish := 'hurry';
    END IF;
    already := CASE wanted WHEN 'run' THEN state = 'running'
                           WHEN 'standby' THEN state IN ('standby', 'disabled')
                           ELSE state IS NULL END
               AND before.wish IS NOT DISTINCT FROM node_wish.wish
               OR wanted = 'drain' AND state IS NULL;
    IF known AND NOT already THEN
        UPDATE rota.node n SET wish = node_wish.wish, wish_number = n.wish_number + 1, wished_at = clock_timestamp()
         WHERE n.name = wanted_node;
        IF wanted = 'evict' THEN
            UPDATE rota.incarnation i SET evicted_at = clock_timestamp()
             WHERE i.node = wanted_node AND i.evicted_at IS NULL;
        END IF;
        PERFORM pg_notify('rota.wake', 'node ' || wanted_node);
    END IF;
    RETURN NEXT;
END $$;

-- What is left to do about the evicted incarnations of a node: their connections are ended and their runs
-- taken, those of lanes when the lease is over. Called until nothing remains; the other nodes do the same.
-- believed, steady: as rota.recover() has them. 55P03: somebody is in the way, to be tried again.
CREATE FUNCTION rota.node_evict(wanted_node text, believed timestamptz DEFAULT 'infinity', steady interval DEFAULT NULL)
RETURNS TABLE (remaining bigint, lease_left_ms bigint, put_back bigint, lost bigint, foreign_connections bigint)
LANGUAGE plpgsql AS $$
DECLARE
    dead rota.incarnation;
    taken record;
BEGIN
    put_back := 0;
    lost := 0;
    foreign_connections := 0;
    FOR dead IN SELECT * FROM rota.incarnation i
                 WHERE i.node = wanted_node AND i.evicted_at IS NOT NULL ORDER BY i.id LOOP
        PERFORM pg_terminate_backend(a.pid) FROM pg_stat_activity a
          WHERE a.application_name = ANY (dead.backends) AND a.usename = current_user AND a.backend_start < dead.evicted_at;
        foreign_connections := foreign_connections + (SELECT count(*) FROM pg_stat_activity a
          WHERE a.application_name = ANY (dead.backends) AND a.usename <> current_user);
        FOR taken IN SELECT r.put_back, r.lost FROM rota.recover(dead.id, believed, steady) r LOOP
            put_back := put_back + taken.put_back;
            lost := lost + taken.lost;
        END LOOP;
    END LOOP;
    SELECT count(*), coalesce(max(greatest(0, extract(epoch FROM i.lease_until - clock_timestamp()) * 1000)), 0)::bigint
      INTO remaining, lease_left_ms
      FROM rota.incarnation i WHERE i.node = wanted_node AND i.evicted_at IS NOT NULL;
    RETURN NEXT;
END $$;

CREATE OR REPLACE VIEW rota.node_state AS
    SELECT i.node, i.id AS incarnation, CASE WHEN i.evicted_at IS NULL THEN i.state ELSE 'evicted' END AS state,
           i.started_at, i.renewed_at, i.lease_until, i.version, i.host, i.pid, i.handlers, i.slots, i.http,
           (SELECT coalesce(sum(bit_count(r.open)), 0)::bigint FROM rota.receipt r WHERE r.incarnation = i.id) AS running,
           n.wish, n.wished_at, i.evicted_at
      FROM rota.incarnation i JOIN rota.node n ON n.name = i.node;

-- What people read: an instant in UTC, to the millisecond; a length of time, to the second.
CREATE FUNCTION rota.instant_text(instant timestamptz) RETURNS text
LANGUAGE sql STABLE STRICT AS $$
    SELECT to_char(instant AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
$$;
CREATE FUNCTION rota.span_text(span interval) RETURNS text
LANGUAGE sql STABLE STRICT AS $$
    SELECT rota.duration_text(round(greatest(0, extract(epoch FROM span)))::bigint * 1000000)
$$;

INSERT INTO rota.schema_version (version, name, needs) VALUES (3, '0003_node_control', 1);
