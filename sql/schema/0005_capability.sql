-- What nodes can run, and what a node must know when it starts.

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

INSERT INTO rota.schema_version (version, name, needs) VALUES (5, '0005_capability', 1);
