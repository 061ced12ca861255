-- Roles for users that are missing, as a list; NULL: none.
-- on: client
SELECT string_agg(r.name, ', ' ORDER BY r.name)
  FROM (SELECT DISTINCT 'rota' || '_' || a.role AS name FROM rota.access a) r
 WHERE NOT EXISTS (SELECT FROM pg_roles p WHERE p.rolname = r.name)
