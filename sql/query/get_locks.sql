-- Cluster locks as a JSON document.
-- $1 name: one of them, NULL for all
-- $2 limit: rows at most
-- $3 offset: rows to pass over
-- on: client
SELECT json_build_object('total', (SELECT count(*) FROM rota.metabase_cluster_lock l
                                    WHERE l.lock_name = coalesce($1::text, l.lock_name)),
                         'limit', $2::bigint, 'offset', $3::bigint, 'data', coalesce(json_agg(r), '[]'))::text
  FROM (SELECT l.lock_name AS name, l.holder, l.fence, l.acquired_at, l.renewed_at
          FROM rota.metabase_cluster_lock l WHERE l.lock_name = coalesce($1::text, l.lock_name)
         ORDER BY l.lock_name LIMIT $2::bigint OFFSET $3::bigint) r
