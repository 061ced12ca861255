-- What bulk work and claims need to be fast: see the chapters below.

INSERT INTO rota.schema_version (version, name, needs) VALUES (10, '0010_speed', 1);
