-- Whether the server has room for the connections of the nodes: 3 each, beside those of all others.
-- on: client
WITH used AS MATERIALIZED (
    SELECT count(*) FILTER (WHERE a.application_name NOT LIKE 'rota %') AS others
      FROM pg_stat_activity a WHERE a.backend_type = 'client backend'
), fleet AS (
    SELECT 3 * count(*) AS need, count(*) AS nodes FROM rota.incarnation i WHERE i.lease_until > clock_timestamp()
), room AS (
    SELECT current_setting('max_connections')::integer - current_setting('superuser_reserved_connections')::integer AS room
)
SELECT CASE WHEN u.others + f.need > r.room THEN 'bad' WHEN (u.others + f.need) * 10 > r.room * 9 THEN 'warn' ELSE 'ok' END,
       'connections', 'server',
       format('%s nodes need %s connections, others use %s, of %s', f.nodes, f.need, u.others, r.room),
       format('raise max_connections to %s or more', (u.others + f.need) * 3 / 2 + current_setting('superuser_reserved_connections')::integer)
  FROM used u CROSS JOIN fleet f CROSS JOIN room r
