-- The revision of the newest change to any definition.
-- on: client
SELECT f.definition_revision FROM rota.fleet f
