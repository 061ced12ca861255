-- Lanes that are in use or waited for, as a JSON document.
-- $1 name: of their job, NULL for all
-- $2 limit: rows at most
-- $3 offset: rows to pass over
-- on: client
SELECT json_build_object('total', (SELECT count(*) FROM rota.lane_state s WHERE $1::text IS NULL OR s.job = $1::text),
                         'limit', $2::bigint, 'offset', $3::bigint, 'data', coalesce(json_agg(r), '[]'))::text
  FROM (SELECT s.lane::text, s.job, s.source, s.key, s."limit", s.running, s.parked, s.blocked, s.runs, s.busy_since,
               s.waiting_since
          FROM rota.lane_state s WHERE $1::text IS NULL OR s.job = $1::text
         ORDER BY s.job, s.key, s.lane LIMIT $2::bigint OFFSET $3::bigint) r
