-- One migration at a time, never waiting inside the server. Also what there is.
-- on: client
SELECT pg_try_advisory_lock(hashtextextended('rota.migrate', 0)), to_regclass('rota.schema_version') IS NOT NULL
