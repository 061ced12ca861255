-- What GET /api/task/info says of the scheduler: lines of text, as a JSON array.
-- on: client
SELECT to_json(ARRAY[
    'rota, schema ' || (SELECT max(v.version) FROM rota.schema_version v),
    (SELECT count(*) || ' nodes: ' || coalesce(string_agg(n.node || ' ' || n.state || ', ' || n.running || ' of ' || n.slots
                                                          || ' slots in use, since '
                                                          || to_char(n.started_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
                                                          '; ' ORDER BY n.node), 'none')
       FROM rota.node_state n),
    (SELECT count(*) FROM rota.job j) || ' jobs, ' || (SELECT count(*) FROM rota.trigger t) || ' triggers',
    CASE WHEN (SELECT f.paused FROM rota.fleet f) THEN 'everything is paused' ELSE 'not paused' END])::text
