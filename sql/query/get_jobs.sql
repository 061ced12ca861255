-- Jobs as a JSON document. The next firing of a job with many triggers is looked for among the next ones of its handler.
-- $1 name: one of them, NULL for all
-- $2 limit: rows at most
-- $3 offset: rows to pass over
-- $4 after: the row it goes on after, as `next` of the page before, decoded; NULL: from the beginning
-- on: client
SELECT json_build_object('total', CASE WHEN $4::json IS NOT NULL THEN NULL
                                       WHEN $1::text IS NULL THEN rota.tally_of('jobs')
                                       ELSE (SELECT count(*) FROM rota.job j WHERE j.name = $1::text) END,
                         'limit', $2::bigint, 'offset', $3::bigint, 'data', coalesce(json_agg(r), '[]'),
                         'next', CASE WHEN count(*) = $2::bigint AND $2::bigint > 0
                                      THEN rota.page_cursor((array_agg(r.name))[$2::integer]) END)::text
  FROM (SELECT j.name, j.source, j.description, j.handler, j.data, j.durable, j.priority, j.timeout_ms, j.max_attempts,
               j.requests_recovery,
               rota.tally_of('triggers', j.id) AS triggers,
               CASE WHEN rota.tally_of('triggers', j.id) <= 1000
                    THEN (SELECT min(f.next_at)
                            FROM rota.trigger t CROSS JOIN LATERAL (
                                 SELECT d.next_at FROM rota.trigger_due d
                                  WHERE d.trigger_id = t.id AND d.state = 'W' AND NOT d.paused LIMIT 1) f
                           WHERE t.job_id = j.id)
                    ELSE (SELECT min(f.next_at)
                            FROM rota.route o CROSS JOIN LATERAL unnest(ARRAY[o.id, -o.id]) AS q(route) CROSS JOIN LATERAL (
                                 SELECT d.next_at
                                   FROM rota.trigger_due d CROSS JOIN LATERAL (
                                        SELECT FROM rota.trigger t WHERE t.id = d.trigger_id AND t.job_id = j.id LIMIT 1) m
                                  WHERE d.route = q.route AND d.state = 'W' AND NOT d.paused ORDER BY d.next_at LIMIT 1) f
                           WHERE o.handler = j.handler) END AS next_at,
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
          FROM rota.job j
         WHERE ($1::text IS NULL OR j.name = $1::text) AND j.name > coalesce($4::json->>0, '')
         ORDER BY j.name LIMIT $2::bigint OFFSET $3::bigint) r
