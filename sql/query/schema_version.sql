-- The newest applied migration and the oldest binary it still works with.
-- on: client session
SELECT coalesce(max(v.version), 0), coalesce(max(v.needs), 0) FROM rota.schema_version v
