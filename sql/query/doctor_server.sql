-- The server, and those of its settings that hurt, as this role has them.
-- on: client
WITH wrong (name, is_wrong, level, what, advice) AS (VALUES
    ('fsync', 'off', 'bad', 'a crash of the machine may corrupt the database', 'set it on'),
    ('full_page_writes', 'off', 'bad', 'a crash of the machine may corrupt the database', 'set it on'),
    ('synchronous_commit', 'off', 'bad', 'a crash of the server takes claims and results back that were confirmed: runs are lost or repeated',
     'set it on (nodes switch it off for their heartbeats alone)'),
    ('autovacuum', 'off', 'bad', 'claims become slower with every run', 'set it on'),
    ('track_counts', 'off', 'bad', 'autovacuum does not work without it', 'set it on'),
    ('default_transaction_read_only', 'on', 'bad', 'nothing can be written', 'set it off for this role'),
    ('default_transaction_isolation', 'repeatable read', 'bad', 'nodes stand in each other''s way', 'set it to read committed for this role'),
    ('default_transaction_isolation', 'serializable', 'bad', 'nodes stand in each other''s way', 'set it to read committed for this role'),
    ('idle_in_transaction_session_timeout', '0', 'warn', 'whoever forgets a transaction slows all claims down until he goes',
     'set it to some minutes')
)
SELECT CASE WHEN current_setting('server_version_num')::integer >= 140000 THEN 'ok' ELSE 'bad' END, 'server_version', 'server',
       'PostgreSQL ' || current_setting('server_version'), 'PostgreSQL 14 or newer'
UNION ALL
SELECT 'bad', 'recovery', 'server', 'this server is a standby: nothing can be written', 'connect to the primary'
 WHERE pg_is_in_recovery()
UNION ALL
SELECT w.level, w.name, 'server', format('%s is %s: %s', w.name, s.setting, w.what), w.advice
  FROM wrong w JOIN pg_settings s ON s.name = w.name AND s.setting = w.is_wrong
UNION ALL
SELECT 'ok', 'settings', 'server', 'fsync, full_page_writes, synchronous_commit, autovacuum are on', NULL
 WHERE NOT EXISTS (SELECT FROM wrong w JOIN pg_settings s ON s.name = w.name AND s.setting = w.is_wrong AND w.level = 'bad')
UNION ALL
SELECT 'warn', 'idle_session_timeout', 'server',
       format('idle_session_timeout is %s: connections that have nothing to do are cut and opened again', current_setting('idle_session_timeout')),
       'set it to 0 for this role'
 WHERE current_setting('idle_session_timeout') <> '0'
UNION ALL
SELECT 'ok', 'roles', 'server',
       CASE count(*) FILTER (WHERE NOT r.there)
            WHEN 0 THEN 'roles for users: ' || string_agg(r.name, ', ' ORDER BY r.name)
            ELSE format('roles for users are missing: %s; if somebody makes them, `SELECT rota.grant_access()` gives them their rights',
                        string_agg(r.name, ', ' ORDER BY r.name) FILTER (WHERE NOT r.there)) END, NULL
  FROM (SELECT 'rota' || '_' || a.role AS name, EXISTS (SELECT FROM pg_roles p WHERE p.rolname = 'rota' || '_' || a.role) AS there
          FROM (SELECT DISTINCT w.role FROM rota.access w) a) r
