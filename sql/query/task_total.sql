-- How many rows GET /api/task has.
-- $1 task: NULL for all
-- $2 status: started, success, failed or unknown; NULL for all
-- on: client
SELECT (SELECT count(*) FROM rota.run r JOIN rota.job j ON j.id = r.job_id
         WHERE r.state = 'started' AND coalesce($2::text, 'started') = 'started'
           AND ($1::text IS NULL OR j.name = $1::text))
     + (SELECT count(*) FROM rota.task_history h
         WHERE ($2::text IS NULL OR h.status = $2::text) AND ($1::text IS NULL OR h.task = $1::text))
