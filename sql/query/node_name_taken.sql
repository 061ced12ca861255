-- Whether a live process goes by this node name, and where.
-- $1 name: node name
-- $2 lock_class: first half of the incarnations' advisory locks
-- on: session
SELECT i.host, i.pid
  FROM rota.incarnation i
 WHERE i.node = $1::text
   AND EXISTS (SELECT FROM pg_locks l
                WHERE l.locktype = 'advisory' AND l.objsubid = 2 AND l.granted
                  AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
                  AND l.classid = ($2::integer::bigint & 4294967295)::oid AND l.objid = i.id::oid)
 LIMIT 1
