-- Live nodes as a JSON document. `workers`: handlers that are served in another version than the node's own.
-- $1 name: one of them, NULL for all
-- $2 limit: rows at most
-- $3 offset: rows to pass over
-- $4 after: the row it goes on after, as `next` of the page before, decoded; NULL: from the beginning
-- on: client
SELECT json_build_object('total', CASE WHEN $4::json IS NULL THEN
                         (SELECT count(*) FROM rota.incarnation i WHERE i.node = coalesce($1::text, i.node)) END,
                         'limit', $2::bigint, 'offset', $3::bigint, 'data', coalesce(json_agg(r), '[]'),
                         'next', CASE WHEN count(*) = $2::bigint AND $2::bigint > 0
                                      THEN rota.page_cursor((array_agg(r.name))[$2::integer], (array_agg(r.incarnation::text))[$2::integer]) END)::text
  FROM (SELECT s.node AS name, s.incarnation, s.state, s.running, s.slots, s.handlers, s.versions, s.version, s.host, s.pid, s.http,
               s.started_at, s.renewed_at, s.lease_until, s.wish, s.wished_at,
               ARRAY(SELECT h.key || '=' || w.version FROM jsonb_each(s.versions) h
                      CROSS JOIN LATERAL jsonb_array_elements_text(CASE jsonb_typeof(h.value) WHEN 'array' THEN h.value ELSE '[]' END) AS w(version)
                      WHERE w.version <> s.version ORDER BY 1) AS workers
          FROM rota.node_state s WHERE s.node = coalesce($1::text, s.node)
           AND ($4::json IS NULL OR (s.node, s.incarnation) > ($4::json->>0, ($4::json->>1)::integer))
         ORDER BY s.node, s.incarnation LIMIT $2::bigint OFFSET $3::bigint) r
