-- A new incarnation of a node, with its advisory lock already held when others can see it; and the time.
-- $1 name: node name
-- $2 state: standby, running or disabled
-- $3 lease_ms: how long it may act without renewing
-- $4 version: of the binary
-- $5 host: host name
-- $6 pid: process id
-- $7 backends: application names of its connections
-- $8 lock_class: first half of the advisory lock
-- on: session
WITH known AS (
    INSERT INTO rota.node (name) VALUES ($1::text)
    ON CONFLICT (name) DO UPDATE SET last_seen_at = now()
    RETURNING name
), made AS (
    INSERT INTO rota.incarnation (node, state, lease_until, version, host, pid, backends)
    SELECT k.name, $2::text, clock_timestamp() + $3::bigint * interval '1 ms', $4::text, $5::text, $6::integer, $7::text[]
      FROM known k
    RETURNING id
)
SELECT m.id, pg_try_advisory_lock($8::integer, m.id), clock_timestamp() FROM made m
