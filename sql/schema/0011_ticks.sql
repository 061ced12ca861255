-- What recurring triggers need to be fast.

INSERT INTO rota.schema_version (version, name, needs) VALUES (11, '0011_ticks', 1);
