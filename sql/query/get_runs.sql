-- Runs that are not over, as a JSON document: started ones first, then by due time.
-- $1 name: of their job, NULL for all
-- $2 limit: rows at most
-- $3 offset: rows to pass over
-- on: client
SELECT json_build_object('total', (SELECT count(*) FROM rota.run r LEFT JOIN rota.job j ON j.id = r.job_id
                                    WHERE $1::text IS NULL OR j.name = $1::text),
                         'limit', $2::bigint, 'offset', $3::bigint, 'data', coalesce(json_agg(o), '[]'))::text
  FROM (SELECT r.id, j.name AS job, t.name AS trigger, r.state, r.node, r.due, r.scheduled_at, r.enqueued_at,
               r.started_at, r.attempt, r.missed, r.misfired, r.recovering, r.fence, r.held, r.lane::text
          FROM rota.run r LEFT JOIN rota.job j ON j.id = r.job_id LEFT JOIN rota.trigger t ON t.id = r.trigger_id
         WHERE $1::text IS NULL OR j.name = $1::text
         ORDER BY r.state DESC, r.due, r.id LIMIT $2::bigint OFFSET $3::bigint) o
