-- A new revision for everything this apply changes.
-- on: client
UPDATE rota.fleet SET definition_revision = definition_revision + 1 RETURNING definition_revision
