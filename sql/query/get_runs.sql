-- Runs that are not over, as a JSON document: started ones first, then by due time.
-- $1 name: of their job, NULL for all
-- $2 limit: rows at most
-- $3 offset: rows to pass over
-- $4 after: the row it goes on after, as `next` of the page before, decoded; NULL: from the beginning
-- $5 run: one of them by its id; NULL for all
-- on: client
SELECT json_build_object('total', CASE WHEN $4::json IS NULL AND $5::bigint IS NULL THEN
                         (SELECT count(*) FROM rota.pending p WHERE $1::text IS NULL OR p.job_id = (SELECT j.id FROM rota.job j WHERE j.name = $1::text))
                         + (SELECT coalesce(sum(b.size - b.taken), 0)::bigint FROM rota.bundle b
                             WHERE $1::text IS NULL OR b.job_id = (SELECT j.id FROM rota.job j WHERE j.name = $1::text))
                         + CASE WHEN $1::text IS NULL THEN (SELECT coalesce(sum(bit_count(r.open)), 0)::bigint FROM rota.receipt r)
                                ELSE (SELECT count(*) FROM rota.receipt r CROSS JOIN LATERAL rota.receipt_runs(r) u
                                       WHERE u.job_id = (SELECT j.id FROM rota.job j WHERE j.name = $1::text)) END END,
                         'limit', $2::bigint, 'offset', $3::bigint, 'data', coalesce(json_agg(o), '[]'),
                         'next', CASE WHEN count(*) = $2::bigint AND $2::bigint > 0
                                      THEN rota.page_cursor((array_agg(o.state))[$2::integer], (array_agg(o.due::text))[$2::integer], (array_agg(o.id::text))[$2::integer]) END)::text
  FROM (SELECT p.id, p.job, p.trigger, p.state, p.node, p.due, p.scheduled_at, p.enqueued_at, p.started_at, p.attempt,
               p.missed, p.misfired, p.recovering, p.fence, p.held, p.lane::text, x.fraction AS progress, x.message,
               x.noted_at, x.expires_at, (SELECT u.key FROM rota.unique_key u WHERE u.run_id = p.id LIMIT 1) AS key,
               (SELECT json_agg(a.needs ORDER BY a.needs) FROM rota.run_after a WHERE a.run_id = p.id) AS waits_for,
               c.requested_at AS cancel_requested_at
          FROM (SELECT r.id, j.name AS job, t.name AS trigger, r.state, r.node, r.due, r.scheduled_at, r.enqueued_at,
                       r.started_at, r.attempt, r.missed, r.misfired, r.recovering, r.fence, r.held, r.lane
                  FROM rota.run r LEFT JOIN rota.job j ON j.id = r.job_id LEFT JOIN rota.trigger t ON t.id = r.trigger_id
                 WHERE ($1::text IS NULL OR j.name = $1::text) AND ($5::bigint IS NULL OR r.id = $5::bigint)
                   AND ($4::json IS NULL OR r.state < $4::json->>0
                        OR (r.state = $4::json->>0 AND (r.due, r.id) > (($4::json->>1)::timestamptz, ($4::json->>2)::bigint)))
                 ORDER BY r.state DESC, r.due, r.id LIMIT $2::bigint OFFSET $3::bigint) p
               LEFT JOIN rota.run_extra x ON x.run_id = p.id LEFT JOIN rota.cancel_request c ON c.run_id = p.id
         ORDER BY p.state DESC, p.due, p.id) o
