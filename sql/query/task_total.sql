-- How many rows GET /api/task has.
-- $1 task: NULL for all
-- $2 status: started, success, failed or unknown; NULL for all
-- on: client
SELECT rota.task_total($1::text, $2::text)
