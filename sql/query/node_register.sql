-- A new incarnation of a node, with its advisory lock already held when others can see it; the time; what the
-- node is asked to be; and since how many ms the server is known. Locks that this session has from before its death are given back.
-- $1 name: node name
-- $2 state: standby, running or disabled
-- $3 lease_ms: how long it may act without renewing
-- $4 version: of the binary
-- $5 host: host name
-- $6 pid: process id
-- $7 backends: application names of its connections
-- $8 lock_class: first half of the advisory lock
-- $9 previous: its incarnation that was declared dead, 0 when it starts
-- $10 restart_delay_ms: how long it declares nobody dead after a restart of the server
-- $11 knows: newest migration of the binary
-- on: session
WITH known AS (
    INSERT INTO rota.node (name) VALUES ($1::text)
    ON CONFLICT (name) DO UPDATE SET last_seen_at = now()
    RETURNING name, wish, wish_number
), made AS (
    INSERT INTO rota.incarnation (node, state, lease_until, version, host, pid, backends, lease_ms, restart_delay_ms, knows)
    SELECT k.name, CASE WHEN k.wish IN ('standby', 'evict') AND $2::text = 'running' THEN 'standby' ELSE $2::text END,
           clock_timestamp() + $3::bigint * interval '1 ms', $4::text, $5::text, $6::integer, $7::text[], $3::bigint, $10::bigint, $11::integer
      FROM known k
    RETURNING id
)
SELECT m.id, pg_try_advisory_lock($8::integer, m.id), clock_timestamp(), k.wish, k.wish_number,
       (extract(epoch FROM rota.server_known()) * 1000)::bigint,
       (SELECT count(*) FROM (SELECT pg_advisory_unlock($8::integer, l.objid::bigint::integer) FROM pg_locks l
                               WHERE $9::integer <> 0 AND l.pid = pg_backend_pid() AND l.locktype = 'advisory'
                                 AND l.objsubid = 2 AND l.granted AND l.objid IN (0, $9::integer::bigint::oid)
                                 AND l.classid = ($8::integer::bigint & 4294967295)::oid) given_back)
  FROM made m CROSS JOIN known k
