-- What was done, newest first, as a JSON document.
-- $1 name: of what it was done to; NULL for all
-- $2 limit: rows at most
-- $3 offset: rows to pass over
-- $4 after: the row it goes on after, as `next` of the page before, decoded; NULL: from the beginning
-- on: client
SELECT json_build_object('total', CASE WHEN $4::json IS NULL THEN
                                  (SELECT count(*) FROM rota.audit a WHERE $1::text IS NULL OR a.name = $1::text) END,
                         'limit', $2::bigint, 'offset', $3::bigint, 'data', coalesce(json_agg(r), '[]'),
                         'next', CASE WHEN count(*) = $2::bigint AND $2::bigint > 0
                                      THEN rota.page_cursor((array_agg(r.id))[$2::integer]::text) END)::text
  FROM (SELECT a.id, a.at, a.who, a.address, a.node, a.action, a.noun, a.name, a.request, a.answer, a.before, a.after
          FROM rota.audit a
         WHERE ($1::text IS NULL OR a.name = $1::text) AND ($4::json IS NULL OR a.id < ($4::json->>0)::bigint)
         ORDER BY a.id DESC LIMIT $2::bigint OFFSET $3::bigint) r
