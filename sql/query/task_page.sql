-- A page of GET /api/task: id, the value it is sorted by, and the row as JSON; see rota.task_page().
-- $1 task: NULL for all
-- $2 status: started, success, failed or unknown; NULL for all
-- $3 column: started_at, ended_at, duration, task or status
-- $4 direction: asc or desc
-- $5 limit: rows at most
-- $6 offset: rows to pass over
-- $7 value: of the row it goes on after
-- $8 id: of that row; NULL: from the beginning
-- on: client
SELECT r.id, CASE $3::text WHEN 'started_at' THEN r.started_at::text WHEN 'ended_at' THEN r.ended_at::text
                           WHEN 'duration' THEN r.duration::text WHEN 'task' THEN r.task ELSE r.status END,
       row_to_json(r)::text
  FROM (SELECT t.id, t.task, t.db_id, t.started_at, t.ended_at, t.duration, t.task_details, t.status, t.logs, t.outcome,
               t.node, t.attempt, t.scheduled_at, t.trigger, t.missed, t.misfired
          FROM rota.task_page($1::text, $2::text, $3::text, $4::text = 'desc', $5::bigint, $6::bigint, $8::bigint, $7::text)
               WITH ORDINALITY AS t
         ORDER BY t.ordinality) r
