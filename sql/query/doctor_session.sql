-- Takes a lock of the session where it does not have it yet, and tells whether it had, and which backend answers.
-- $1 key: of the lock, of this call of the doctor alone
-- $2 take: false only looks
-- on: client
SELECT pg_backend_pid(),
       EXISTS (SELECT FROM pg_locks l WHERE l.pid = pg_backend_pid() AND l.locktype = 'advisory' AND l.objsubid = 1
                  AND l.granted AND l.objid = ($1::bigint & 4294967295)::oid AND l.classid = ($1::bigint >> 32)::oid),
       CASE WHEN $2::boolean THEN pg_try_advisory_lock($1::bigint) END
