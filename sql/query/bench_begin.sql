-- The number of a new bench, which names its schema, and the sign that it lives: a lock of this session.
-- Also the leftovers of benches that have died, whose locks are free; this session has those now.
-- on: client
WITH mine AS MATERIALIZED (
    SELECT pg_backend_pid() AS number, pg_advisory_lock(hashtextextended('rota_bench_' || pg_backend_pid(), 0))
), other AS MATERIALIZED (
    SELECT n.nspname, n.nspowner FROM pg_namespace n WHERE n.nspname ~ '^rota_bench_[0-9]+$'
)
SELECT m.number,
       ARRAY(SELECT o.nspname::text FROM other o
              WHERE CASE WHEN pg_has_role(o.nspowner, 'USAGE')
                         THEN pg_try_advisory_lock(hashtextextended(o.nspname::text, 0)) END
              ORDER BY o.nspname)
  FROM mine m
