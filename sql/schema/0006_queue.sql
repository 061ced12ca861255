-- The queue: what is enqueued, under which key, within which limits, and what may be asked of a run.

INSERT INTO rota.schema_version (version, name, needs) VALUES (6, '0006_queue', 1);
