-- Tokens, audit and events.

INSERT INTO rota.schema_version (version, name, needs) VALUES (13, '0013_access_from_outside', 1);
