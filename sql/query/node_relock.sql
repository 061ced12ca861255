-- After a lost session: the same incarnation takes its lock again, once its old session is gone.
-- $1 incarnation: its id
-- $2 lock_class: first half of the advisory lock
-- $3 application_name: of this session; other backends under it are leftovers of ours
-- on: session
SELECT EXISTS (SELECT FROM rota.incarnation i WHERE i.id = $1::integer AND i.evicted_at IS NULL AND $3::text = ANY (i.backends)),
       (SELECT count(*) FROM (SELECT pg_terminate_backend(a.pid) FROM pg_stat_activity a
                               WHERE a.application_name = $3::text AND a.pid <> pg_backend_pid()) ended),
       CASE WHEN EXISTS (SELECT FROM rota.incarnation i WHERE i.id = $1::integer AND i.evicted_at IS NULL AND $3::text = ANY (i.backends))
            THEN pg_try_advisory_lock($2::integer, $1::integer) ELSE false END
