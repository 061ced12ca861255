-- Who may use the HTTP API, what was done through it, and the pages of its lists.

-- ---- tokens ----

-- A token is rota_<key>_<secret>; what is kept of it is the key, to find it, and a hash of the whole. A secret
-- of 256 random bits needs no slow hash. Several tokens of one name are a rotation: the older ones expire.
CREATE TABLE rota.token (
    id         integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name       text NOT NULL CHECK (length(name) BETWEEN 1 AND 64),
    key        text NOT NULL UNIQUE CHECK (key ~ '^[0-9a-f]{12}$'),
    hash       bytea NOT NULL CHECK (length(hash) = 32), -- SHA-256
    scope      text NOT NULL CHECK (scope IN ('monitor', 'operate', 'admin')),
    created_at timestamptz NOT NULL DEFAULT now(),
    created_by text NOT NULL DEFAULT session_user,
    expires_at timestamptz, -- NULL: never
    revoked_at timestamptz,
    used_at    timestamptz  -- to the hour
);
CREATE INDEX token_name ON rota.token (name);

-- ---- audit ----

-- What was done, by whom, and how things stood before and after: one row an action, written in its transaction.
CREATE TABLE rota.audit (
    id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    who     text NOT NULL, -- name of the token; local: this machine, while there are no tokens
    address text,
    node    text,
    action  text NOT NULL,
    noun    text NOT NULL CHECK (noun IN ('job', 'trigger', 'run', 'node', 'source', 'all', 'token')),
    name    text NOT NULL,
    request json,
    answer  json,
    before  json,
    after   json
);
CREATE INDEX audit_name ON rota.audit (name, id);

CREATE FUNCTION rota.audit_stays() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit is only added to' USING ERRCODE = '42501';
END $$;
CREATE TRIGGER audit_stays BEFORE UPDATE OR DELETE OR TRUNCATE ON rota.audit
    FOR EACH STATEMENT EXECUTE FUNCTION rota.audit_stays();

-- How a thing stands, for `before` and `after`. NULL: there is none.
CREATE FUNCTION rota.audit_state(noun text, name text) RETURNS json
LANGUAGE sql STABLE AS $$
    SELECT CASE audit_state.noun
        WHEN 'job' THEN
            (SELECT json_build_object('source', j.source, 'paused', j.paused, 'held', j.held, 'revision', j.revision)
               FROM rota.job j WHERE j.name = audit_state.name)
        WHEN 'trigger' THEN
            (SELECT json_build_object('job', s.job, 'schedule', s.schedule, 'timezone', s.timezone, 'state', s.state,
                                      'paused', s.paused, 'paused_by', s.paused_by, 'next_at', s.next_at, 'error', s.error)
               FROM rota.trigger_state s WHERE s.trigger = audit_state.name)
        WHEN 'run' THEN
            (SELECT json_build_object('place', p.place) FROM rota.run_place(audit_state.name::bigint) AS p(place) WHERE p.place IS NOT NULL)
        WHEN 'node' THEN
            (SELECT json_build_object('wish', n.wish,
                                      'state', (SELECT s.state FROM rota.node_state s WHERE s.node = n.name ORDER BY s.incarnation DESC LIMIT 1))
               FROM rota.node n WHERE n.name = audit_state.name)
        WHEN 'source' THEN
            json_build_object('paused', EXISTS (SELECT FROM rota.source_pause p WHERE p.source = audit_state.name))
        WHEN 'all' THEN
            (SELECT json_build_object('paused', f.paused) FROM rota.fleet f)
        WHEN 'token' THEN
            (SELECT json_build_object('tokens', count(*)) FROM rota.token t WHERE t.name = audit_state.name AND t.revoked_at IS NULL)
    END
$$;

-- ---- pages of lists ----

-- Where the next page begins: the values of the last row that the list is sorted by, in letters that need no
-- escape in a URL.
CREATE FUNCTION rota.page_cursor(VARIADIC last_row text[]) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT translate(encode(convert_to(to_json(last_row)::text, 'UTF8'), 'base64'), '+/=' || chr(10), '-_')
$$;

-- ---- pages of GET /api/task ----

-- A page of runs that have started or are over: each with the value it is sorted by, as text, and its row. Ties
-- go by id, newest first. With after_id only what comes after the row with this value and id; NULL is the
-- largest value, as PostgreSQL sorts it. What runs is few and read whole; the history is read along an index
-- where there is one for the column, at most limit + offset rows of it.
CREATE FUNCTION rota.task_page(wanted_task text, wanted_status text, sort_column text, sort_direction text, row_limit bigint,
                               row_offset bigint DEFAULT 0, after_value text DEFAULT NULL, after_id bigint DEFAULT NULL)
RETURNS TABLE (id bigint, value text, task json)
LANGUAGE plpgsql STABLE AS $$
DECLARE
    kind text := CASE WHEN sort_column IN ('started_at', 'ended_at') THEN 'timestamptz' WHEN sort_column = 'duration' THEN 'bigint' ELSE 'text' END;
    sorted text; -- the column, in the order it is stored in
    direction text := CASE sort_direction WHEN 'asc' THEN 'ASC' ELSE 'DESC' END;
    beyond text := 'true';
    arm text;
    arms text[] := '{}';
BEGIN
    IF sort_column NOT IN ('started_at', 'ended_at', 'duration', 'task', 'status') THEN
        RAISE EXCEPTION 'tasks are not sorted by %', sort_column USING ERRCODE = '22023';
    END IF;
    sorted := format('t.%I', sort_column);
    IF after_id IS NOT NULL AND direction = 'DESC' THEN
        beyond := CASE WHEN after_value IS NULL THEN format('(%1$s IS NOT NULL OR t.id < $3)', sorted)
                       ELSE format('%1$s <= $4::%2$s AND (%1$s < $4::%2$s OR t.id < $3)', sorted, kind) END;
    ELSIF after_id IS NOT NULL THEN
        beyond := CASE WHEN after_value IS NULL THEN format('%1$s IS NULL AND t.id < $3', sorted)
                       ELSE format('(%1$s > $4::%2$s OR %1$s IS NULL OR (%1$s = $4::%2$s AND t.id < $3))', sorted, kind) END;
    END IF;
    arm := '(SELECT t.id, ' || sorted || ' AS sorted, %L::boolean AS over, t.ended_at FROM %s t WHERE '
           || CASE WHEN wanted_task IS NOT NULL THEN 't.task = $1 AND ' ELSE '' END
           || CASE WHEN wanted_status IS NOT NULL THEN 't.status = $2 AND ' ELSE '' END
           || beyond || format(' ORDER BY %s %s, t.id DESC LIMIT %s)', sorted, direction, row_limit + row_offset);
    IF wanted_status IS NULL OR wanted_status = 'started' THEN
        arms := arms || format(arm, false, '(SELECT r.id, j.name AS task, r.started_at, NULL::timestamptz AS ended_at, '
                               'NULL::bigint AS duration, ''started''::text AS status '
                               'FROM rota.run r JOIN rota.job j ON j.id = r.job_id WHERE r.state = ''started'')');
    END IF;
    IF wanted_status IS DISTINCT FROM 'started' THEN
        arms := arms || format(replace(arm, 't.duration', 't.duration_ms'), true, 'rota.task_history');
    END IF;
    RETURN QUERY EXECUTE format(
        'SELECT p.id, p.sorted::text, row_to_json(d) '
        '  FROM (SELECT u.id, u.sorted, u.over, u.ended_at FROM (%1$s) u ORDER BY u.sorted %2$s, u.id DESC LIMIT %3$s OFFSET %4$s) p '
        ' CROSS JOIN LATERAL ('
        '      SELECT h.id, h.task, NULL::integer AS db_id, h.started_at, h.ended_at, h.duration_ms AS duration, h.task_details, '
        '             h.status, h.logs, h.outcome, h.node, h.attempt, h.scheduled_at, h.trigger, h.missed, h.misfired '
        '        FROM rota.task_history h WHERE p.over AND h.id = p.id AND h.ended_at = p.ended_at '
        '      UNION ALL '
        '      SELECT x.id, x.task, x.db_id, x.started_at, x.ended_at, x.duration, x.task_details, x.status, x.logs, x.outcome, '
        '             x.node, x.attempt, x.scheduled_at, x.trigger, x.missed, x.misfired '
        '        FROM rota.task x WHERE NOT p.over AND x.id = p.id AND x.status = ''started'' LIMIT 1) d '
        ' ORDER BY p.sorted %2$s, p.id DESC', array_to_string(arms, ' UNION ALL '), direction, row_limit, row_offset)
    USING wanted_task, wanted_status, after_id, after_value;
END $$;

INSERT INTO rota.schema_version (version, name, needs) VALUES (13, '0013_access_from_outside', 1);
