-- What to tell of roles for users that are missing. No row: none is.
-- on: client
SELECT format('roles for users are missing: %s; if somebody makes them (CREATE ROLE), SELECT rota.grant_access() gives '
              'them their rights', string_agg(r.name, ', ' ORDER BY r.name))
  FROM (SELECT DISTINCT 'rota' || '_' || a.role AS name FROM rota.access a) r
 WHERE NOT EXISTS (SELECT FROM pg_roles p WHERE p.rolname = r.name)
HAVING count(*) > 0
