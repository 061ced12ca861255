-- The incarnations whose lock is free, between heartbeats.
-- $1 incarnation: the asker's
-- $2 lock_class: first half of the advisory locks
-- on: session
SELECT i.id, (extract(epoch FROM i.renewed_at) * 1000000)::bigint, i.node
  FROM rota.incarnation i
 WHERE i.id <> $1::integer
   AND NOT EXISTS (SELECT FROM pg_locks l
                    WHERE l.locktype = 'advisory' AND l.objsubid = 2 AND l.granted
                      AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
                      AND l.classid = ($2::integer::bigint & 4294967295)::oid AND l.objid = i.id::oid)
 ORDER BY i.id
