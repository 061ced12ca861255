-- Triggers as a JSON document.
-- $1 name: of a trigger or of its job, NULL for all
-- $2 limit: rows at most
-- $3 offset: rows to pass over
-- $4 after: the row it goes on after, as `next` of the page before, decoded; NULL: from the beginning
-- on: client
SELECT json_build_object('total', CASE WHEN $4::json IS NULL THEN
                         (SELECT count(*) FROM rota.trigger t JOIN rota.job j ON j.id = t.job_id
                                  WHERE $1::text IS NULL OR $1::text IN (t.name, j.name)) END,
                         'limit', $2::bigint, 'offset', $3::bigint, 'data', coalesce(json_agg(r), '[]'),
                         'next', CASE WHEN count(*) = $2::bigint AND $2::bigint > 0
                                      THEN rota.page_cursor((array_agg(r.job))[$2::integer], (array_agg(r.name))[$2::integer]) END)::text
  FROM (SELECT s.trigger AS name, s.job, s.source, s.kind, s.schedule, s.timezone, s.state, s.paused, s.next_at,
               s.final_at, s.previous_at, s.fired, s.missed, s.misfired, s.error, s.error_at, s.start_at, s.end_at, s.priority,
               s.handler, s.served, s.unserved_since, s.paused_by, s.paused_at, s.calendar
          FROM rota.trigger_state s
         WHERE ($1::text IS NULL OR $1::text IN (s.trigger, s.job))
           AND ($4::json IS NULL OR (s.job, s.trigger) > ($4::json->>0, $4::json->>1))
         ORDER BY s.job, s.trigger LIMIT $2::bigint OFFSET $3::bigint) r
