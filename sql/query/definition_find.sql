-- A trigger or a job by name, and what goes with it when it is deleted.
-- $1 noun: trigger or job
-- $2 name: of it
-- on: client
SELECT j.id, j.name, j.source, j.durable,
       ARRAY(SELECT t.id FROM rota.trigger t WHERE t.job_id = j.id AND ($1::text = 'job' OR t.name = $2::text))::bigint[],
       (SELECT count(*) FROM rota.trigger t WHERE t.job_id = j.id),
       (SELECT o.name FROM rota.job o WHERE o.on_failure = j.name AND o.id <> j.id ORDER BY o.name LIMIT 1)
  FROM rota.job j
 WHERE CASE $1::text WHEN 'job' THEN j.name = $2::text
                     ELSE j.id = (SELECT t.job_id FROM rota.trigger t WHERE t.name = $2::text) END
