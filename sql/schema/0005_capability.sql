-- What nodes can run, and what a node must know when it starts.

INSERT INTO rota.schema_version (version, name, needs) VALUES (5, '0005_capability', 1);
