-- Removes the schema of a bench with all in it.
-- on: client
DROP SCHEMA IF EXISTS rota CASCADE
