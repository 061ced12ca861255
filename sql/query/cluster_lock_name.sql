-- A name's row, once and for all: committed before anybody locks it, so that nobody waits for an insert.
-- $1 name: of the lock
-- on: session client
INSERT INTO rota.metabase_cluster_lock (lock_name) VALUES ($1::text) ON CONFLICT (lock_name) DO NOTHING
