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

INSERT INTO rota.schema_version (version, name, needs) VALUES (13, '0013_access_from_outside', 1);
