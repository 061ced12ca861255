-- What `rota top` shows, as one JSON document: nodes, numbers of the fleet, rows ever written to queue and history
-- (the server's statistics, of which differences are rates; a bundle as if it were full), and the newest failures the event log knows.
-- $1 fresh_ms: numbers of the fleet are good for so long
-- $2 failures: how many
-- on: client
WITH part AS MATERIALIZED (
    SELECT i.inhrelid AS oid FROM pg_inherits i WHERE i.inhparent = 'rota.task_history'::regclass
), failed AS MATERIALIZED (
    SELECT e.id, e.at, e.node, l.line, l.place
      FROM (SELECT v.id, v.at, v.node, v.body FROM rota.event v ORDER BY v.id DESC LIMIT 200) e
           CROSS JOIN LATERAL regexp_split_to_table(e.body, E'\n') WITH ORDINALITY AS l(line, place)
     WHERE l.line LIKE 'run.finished%' AND l.line LIKE '%"status":"failed"%'
     ORDER BY e.id DESC, l.place LIMIT $2::integer
), failure AS MATERIALIZED (
    SELECT f.id, f.place, f.at, f.node, split_part(f.line, E'\t', 2)::json AS facts,
           split_part(split_part(f.line, E'\t', 3), ',', 1)::bigint AS run,
           cardinality(string_to_array(split_part(f.line, E'\t', 3), ',')) AS runs
      FROM failed f
)
SELECT json_build_object(
           'at', clock_timestamp(),
           'finished', (SELECT coalesce(sum(s.n_tup_ins), 0) FROM part p JOIN pg_stat_all_tables s ON s.relid = p.oid),
           'queued', (SELECT coalesce(sum(CASE s.relid WHEN 'rota.bundle'::regclass THEN rota.bundle_size() ELSE 1 END * s.n_tup_ins), 0)
                        FROM pg_stat_all_tables s WHERE s.relid IN ('rota.pending'::regclass, 'rota.bundle'::regclass)),
           'numbers', (SELECT f.numbers FROM rota.fleet_numbers($1::bigint * interval '1 ms') f),
           'nodes', (SELECT coalesce(json_agg(json_build_object('name', n.node, 'state', n.state, 'running', n.running,
                                    'slots', n.slots, 'version', n.version, 'host', n.host,
                                    'lease_left_ms', (extract(epoch FROM n.lease_until - clock_timestamp()) * 1000)::bigint)
                                    ORDER BY n.node, n.incarnation), '[]') FROM rota.node_state n),
           'failures', (SELECT coalesce(json_agg(json_build_object('at', f.at, 'node', f.node, 'job', f.facts ->> 'job',
                                    'outcome', f.facts ->> 'outcome', 'run', f.run, 'runs', f.runs,
                                    'message', (SELECT left(h.task_details ->> 'message', 200) FROM rota.task_history h WHERE h.id = f.run LIMIT 1))
                                    ORDER BY f.id DESC, f.place), '[]') FROM failure f))::text
