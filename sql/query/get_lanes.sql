-- Lanes that are in use or waited for, as a JSON document.
-- $1 name: of their job, NULL for all
-- $2 limit: rows at most
-- $3 offset: rows to pass over
-- $4 after: the row it goes on after, as `next` of the page before, decoded; NULL: from the beginning
-- $5 lane: one of them by its number; NULL for all
-- on: client
SELECT json_build_object('total', CASE WHEN $4::json IS NULL THEN
                         (SELECT count(*) FROM rota.lane_state s WHERE $1::text IS NULL OR s.job = $1::text) END,
                         'limit', $2::bigint, 'offset', $3::bigint, 'data', coalesce(json_agg(r), '[]'),
                         'next', CASE WHEN count(*) = $2::bigint AND $2::bigint > 0
                                      THEN rota.page_cursor((array_agg(r.job))[$2::integer], (array_agg(r.key))[$2::integer], (array_agg(r.lane))[$2::integer]) END)::text
  FROM (SELECT s.lane::text, s.job, s.source, s.key, s."limit", s.running, s.parked, s.blocked, s.runs, s.busy_since,
               s.waiting_since
          FROM rota.lane_state s WHERE ($1::text IS NULL OR s.job = $1::text) AND ($5::text IS NULL OR s.lane::text = $5::text)
           AND ($4::json IS NULL OR s.job > $4::json->>0
                OR (s.job = $4::json->>0 AND (s.key > $4::json->>1 OR ($4::json->>1 IS NOT NULL AND s.key IS NULL)
                    OR (s.key IS NOT DISTINCT FROM $4::json->>1 AND s.lane > ($4::json->>2)::bigint))))
         ORDER BY s.job, s.key, s.lane LIMIT $2::bigint OFFSET $3::bigint) r
