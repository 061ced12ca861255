-- Jobs by name, each with its triggers as GET /api/task/info shows them: a page.
-- $1 after: the name it goes on after; '' from the beginning
-- $2 limit: jobs at most
-- on: client
SELECT j.name, json_build_object(
           'key', j.name, 'class', j.handler, 'description', j.description,
           'concurrent-execution-disallowed?', coalesce(j.lane_limit = 1, false), 'durable?', j.durable,
           'requests-recovery?', coalesce(j.requests_recovery, false),
           'triggers', coalesce((
               SELECT json_agg(json_build_object(
                          'key', t.name, 'description', t.description,
                          'state', CASE WHEN d.state = 'E' THEN 'ERROR' WHEN d.state = 'C' THEN 'COMPLETE'
                                        WHEN d.paused THEN 'PAUSED' WHEN d.state = 'B' THEN 'BLOCKED' ELSE 'NORMAL' END,
                          'start-time', t.start_at, 'end-time', t.end_at,
                          'next-fire-time', d.next_at, 'previous-fire-time', d.previous_at,
                          'final-fire-time', d.final_at, 'priority', coalesce(t.priority, j.priority),
                          'may-fire-again?', d.next_at IS NOT NULL,
                          'misfire-instruction', CASE t.misfire WHEN 'fire_once' THEN 'FIRE_ONCE_NOW'
                                                                WHEN 'skip' THEN 'DO_NOTHING'
                                                                ELSE 'IGNORE_MISFIRE_POLICY' END,
                          'schedule', s.schedule, 'timezone', t.timezone, 'data', coalesce(t.data, '{}'))
                      ORDER BY t.name)
                 FROM rota.trigger t JOIN rota.trigger_due d ON d.trigger_id = t.id
                      JOIN rota.trigger_state s ON s.trigger = t.name
                WHERE t.job_id = j.id), '[]'))::text
  FROM rota.job j WHERE j.name > $1::text
 ORDER BY j.name LIMIT $2::bigint
