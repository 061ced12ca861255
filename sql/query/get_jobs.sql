-- Jobs as a JSON document.
-- $1 name: one of them, NULL for all
-- $2 limit: rows at most
-- $3 offset: rows to pass over
-- $4 after: the row it goes on after, as `next` of the page before, decoded; NULL: from the beginning
-- on: client
SELECT json_build_object('total', CASE WHEN $4::json IS NULL THEN
                         (SELECT count(*) FROM rota.job j WHERE j.name = coalesce($1::text, j.name)) END,
                         'limit', $2::bigint, 'offset', $3::bigint, 'data', coalesce(json_agg(r), '[]'),
                         'next', CASE WHEN count(*) = $2::bigint AND $2::bigint > 0
                                      THEN rota.page_cursor((array_agg(r.name))[$2::integer]) END)::text
  FROM (SELECT j.name, j.source, j.description, j.handler, j.data, j.durable, j.priority, j.timeout_ms, j.max_attempts,
               j.requests_recovery,
               (SELECT count(*) FROM rota.trigger t WHERE t.job_id = j.id) AS triggers,
               (SELECT min(d.next_at) FROM rota.trigger t JOIN rota.trigger_due d ON d.trigger_id = t.id
                 WHERE t.job_id = j.id AND d.state = 'W' AND NOT d.paused) AS next_at,
               EXISTS (SELECT FROM rota.incarnation i WHERE j.handler = ANY (i.handlers)) AS served,
               j.held AS paused,
               array_remove(ARRAY[CASE WHEN (SELECT f.paused FROM rota.fleet f) THEN 'all' END,
                                  CASE WHEN EXISTS (SELECT FROM rota.source_pause p WHERE p.source = j.source) THEN 'source' END,
                                  CASE WHEN j.paused THEN 'job' END], NULL) AS paused_by,
               j.lane_limit AS "limit", j.lane_key AS key, j.max_pending, j.expires_in_ms, j.on_failure,
               CASE WHEN j.rate_limit IS NOT NULL
                    THEN json_strip_nulls(json_build_object('limit', j.rate_limit, 'per_ms', j.rate_per_ms,
                                                            'burst', j.rate_burst, 'key', j.rate_key)) END AS rate,
               CASE WHEN coalesce(j.unique_key, j.unique_until, j.unique_conflict, j.unique_for_ms::text) IS NOT NULL
                    THEN json_strip_nulls(json_build_object('key', j.unique_key, 'until', j.unique_until,
                                                            'for_ms', j.unique_for_ms, 'on_conflict', j.unique_conflict))
               END AS "unique"
          FROM rota.job j WHERE j.name = coalesce($1::text, j.name) AND ($4::json IS NULL OR j.name > $4::json->>0)
         ORDER BY j.name LIMIT $2::bigint OFFSET $3::bigint) r
