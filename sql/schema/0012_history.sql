-- The history by size.

INSERT INTO rota.schema_version (version, name, needs) VALUES (12, '0012_history', 1);
