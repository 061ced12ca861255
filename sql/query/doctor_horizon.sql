-- Who holds the oldest snapshot: what was deleted since cannot be cleaned away, and claims walk over it.
-- $1 old_ms: from which age on that is worth a warning; 20 times it is bad
-- on: client
WITH activity AS (
    SELECT a.pid, a.application_name, a.usename, a.state, clock_timestamp() - a.xact_start AS age, a.datname,
           a.xact_start
      FROM pg_stat_activity a
     WHERE (a.backend_xmin IS NOT NULL OR a.backend_xid IS NOT NULL) AND a.pid <> pg_backend_pid()
       AND a.backend_type = 'client backend'
     ORDER BY a.xact_start NULLS LAST LIMIT 1
)
SELECT CASE WHEN a.age > $1::bigint * interval '20 ms' THEN 'bad' WHEN a.age > $1::bigint * interval '1 ms' THEN 'warn' ELSE 'ok' END,
       'oldest_snapshot', 'server',
       format('process %s (%s, role %s, database %s, %s) holds the oldest snapshot, for %s since %s', a.pid,
              coalesce(nullif(a.application_name, ''), 'without a name'), a.usename, a.datname, a.state,
              rota.span_text(a.age), rota.instant_text(a.xact_start)),
       format('end its transaction; `SELECT pg_terminate_backend(%s)` ends its connection', a.pid)
  FROM activity a
UNION ALL
SELECT 'ok', 'oldest_snapshot', 'server', 'nobody else holds a snapshot', NULL WHERE NOT EXISTS (SELECT FROM activity)
UNION ALL
SELECT 'bad', 'prepared_transaction', 'database ' || p.database,
       format('the prepared transaction "%s" of %s is open since %s', p.gid, p.owner, rota.instant_text(p.prepared)),
       format('COMMIT PREPARED ''%s'', or roll it back', p.gid)
  FROM pg_prepared_xacts p WHERE p.prepared < clock_timestamp() - $1::bigint * interval '1 ms'
UNION ALL
SELECT CASE WHEN age(coalesce(s.xmin, s.catalog_xmin)) > 1000000 THEN 'bad' ELSE 'warn' END, 'replication_slot', 'server',
       format('slot "%s" is not in use and keeps what %s transactions have left behind', s.slot_name, age(coalesce(s.xmin, s.catalog_xmin))),
       'use it or drop it'
  FROM pg_replication_slots s WHERE NOT s.active AND coalesce(s.xmin, s.catalog_xmin) IS NOT NULL
UNION ALL
SELECT 'warn', 'standby_feedback', 'server',
       format('the standby "%s" keeps what %s transactions have left behind', r.application_name, age(r.backend_xmin)),
       'end its long queries, or switch its hot_standby_feedback off'
  FROM pg_stat_replication r WHERE age(r.backend_xmin) > 1000000
