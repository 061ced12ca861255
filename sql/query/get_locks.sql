-- Cluster locks as a JSON document. `state`: held; left: its holder died, its lock-delay may not be over; free.
-- $1 name: one of them, NULL for all
-- $2 limit: rows at most
-- $3 offset: rows to pass over
-- $4 after: the row it goes on after, as `next` of the page before, decoded; NULL: from the beginning
-- on: client
WITH advisory AS MATERIALIZED (
    SELECT p.classid, p.objid, min(p.pid) AS pid FROM pg_locks p
     WHERE p.locktype = 'advisory' AND p.objsubid = 2 AND p.granted
       AND p.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
     GROUP BY p.classid, p.objid
)
SELECT json_build_object('total', CASE WHEN $4::json IS NULL THEN
                         (SELECT count(*) FROM rota.metabase_cluster_lock l
                                  WHERE l.lock_name = coalesce($1::text, l.lock_name)) END,
                         'limit', $2::bigint, 'offset', $3::bigint, 'data', coalesce(json_agg(r ORDER BY r.name), '[]'),
                         'next', CASE WHEN count(*) = $2::bigint AND $2::bigint > 0
                                      THEN rota.page_cursor((array_agg(r.name ORDER BY r.name))[$2::integer]) END)::text
  FROM (SELECT l.lock_name AS name,
               CASE WHEN a.pid IS NOT NULL THEN 'held' WHEN l.holder IS NOT NULL THEN 'left' ELSE 'free' END AS state,
               CASE WHEN a.pid IS NOT NULL THEN coalesce(l.mode, 'exclusive') ELSE l.mode END AS mode,
               CASE WHEN a.pid IS NOT NULL THEN rota.cluster_lock_holder(l.lock_name) ELSE l.holder END AS holder,
               l.fence, l.acquired_at, l.renewed_at,
               ARRAY(SELECT s.holder FROM rota.cluster_lock_share s WHERE s.lock_name = l.lock_name
                      ORDER BY s.fence LIMIT 100) AS shared_by
          FROM (SELECT w.lock_name, w.mode, w.holder, w.fence, w.acquired_at, w.renewed_at
                  FROM rota.metabase_cluster_lock w WHERE w.lock_name = coalesce($1::text, w.lock_name)
                   AND ($4::json IS NULL OR w.lock_name > $4::json->>0)
                 ORDER BY w.lock_name LIMIT $2::bigint OFFSET $3::bigint) l
         CROSS JOIN LATERAL rota.cluster_lock_key(l.lock_name) k
          LEFT JOIN advisory a ON a.classid = (k.class::bigint & 4294967295)::oid
                              AND a.objid = (k.object::bigint & 4294967295)::oid) r
