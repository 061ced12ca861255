-- Whether there is any schema of ours.
-- on: client session
SELECT to_regclass('rota.schema_version') IS NOT NULL
