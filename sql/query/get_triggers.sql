-- Triggers as a JSON document. The page is found by indexes in the order of the list, each branch no longer than it.
-- $1 name: of a trigger or of its job, NULL for all
-- $2 limit: rows at most
-- $3 offset: rows to pass over
-- $4 after: the row it goes on after, as `next` of the page before, decoded; NULL: from the beginning
-- on: client
WITH found AS MATERIALIZED (
    (SELECT j.name AS job, t.name
       FROM (SELECT k.id, k.name FROM rota.job k
              WHERE $1::text IS NULL AND k.name >= coalesce($4::json->>0, '') ORDER BY k.name) j
            CROSS JOIN LATERAL (SELECT g.name FROM rota.trigger g
                                 WHERE g.job_id = j.id AND g.name > CASE WHEN j.name = $4::json->>0 THEN $4::json->>1 ELSE '' END
                                 ORDER BY g.job_id, g.name LIMIT $2::bigint + $3::bigint) t
      LIMIT $2::bigint + $3::bigint)
    UNION ALL
    (SELECT j.name, t.name
       FROM rota.job j
            CROSS JOIN LATERAL (SELECT g.name FROM rota.trigger g
                                 WHERE g.job_id = j.id AND g.name > CASE WHEN j.name = $4::json->>0 THEN $4::json->>1 ELSE '' END
                                 ORDER BY g.job_id, g.name LIMIT $2::bigint + $3::bigint) t
      WHERE j.name = $1::text AND j.name >= coalesce($4::json->>0, ''))
    UNION ALL
    (SELECT j.name, t.name
       FROM rota.trigger t JOIN rota.job j ON j.id = t.job_id
      WHERE t.name = $1::text AND j.name <> $1::text
        AND ($4::json IS NULL OR (j.name, t.name) > ($4::json->>0, $4::json->>1)))
), page AS MATERIALIZED (
    SELECT f.job, f.name FROM found f ORDER BY f.job, f.name LIMIT $2::bigint OFFSET $3::bigint
)
SELECT json_build_object('total', CASE WHEN $4::json IS NOT NULL THEN NULL
                                       WHEN $1::text IS NULL THEN rota.tally_of('triggers')
                                       ELSE coalesce((SELECT rota.tally_of('triggers', j.id) FROM rota.job j WHERE j.name = $1::text), 0)
                                            + (SELECT count(*) FROM rota.trigger t JOIN rota.job j ON j.id = t.job_id
                                                WHERE t.name = $1::text AND j.name <> $1::text) END,
                         'limit', $2::bigint, 'offset', $3::bigint, 'data', coalesce(json_agg(r), '[]'),
                         'next', CASE WHEN count(*) = $2::bigint AND $2::bigint > 0
                                      THEN rota.page_cursor((array_agg(r.job))[$2::integer], (array_agg(r.name))[$2::integer]) END)::text
  FROM (SELECT s.trigger AS name, s.job, s.source, s.kind, s.schedule, s.timezone, s.state, s.paused, s.next_at,
               s.final_at, s.previous_at, s.fired, s.missed, s.misfired, s.error, s.error_at, s.start_at, s.end_at, s.priority,
               s.handler, s.served, s.unserved_since, s.paused_by, s.paused_at, s.calendar
          FROM page p CROSS JOIN LATERAL (SELECT n.trigger, n.job, n.source, n.kind, n.schedule, n.timezone, n.state, n.paused, n.next_at,
                                             n.final_at, n.previous_at, n.fired, n.missed, n.misfired, n.error, n.error_at, n.start_at, n.end_at,
                                             n.priority, n.handler, n.served, n.unserved_since, n.paused_by, n.paused_at, n.calendar
                                        FROM rota.trigger_state n WHERE n.trigger = p.name OFFSET 0) s
         ORDER BY p.job, p.name) r
