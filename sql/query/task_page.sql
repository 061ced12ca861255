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
SELECT p.id, p.value, p.task::text
  FROM rota.task_page($1::text, $2::text, $3::text, $4::text, $5::bigint, $6::bigint, $7::text, $8::bigint)
       WITH ORDINALITY AS p(id, value, task, place)
 ORDER BY p.place
