-- What finished runs leave behind, in the transaction that wrote them into the history, and only of those
-- that this transaction wrote: new data of their job, the end of their trigger, or its error.
-- $1 ids: of the runs
-- $2 fences: under which they were claimed
-- $3 jobs: ids
-- $4 triggers: ids, NULL where enqueued
-- $5 data: new data of the job, NULL for none
-- $6 unschedule: whether the trigger ends
-- $7 errors: text of the trigger's error, NULL for none
-- on: work
WITH effect AS MATERIALIZED (
    SELECT e.run_id, e.job_id, e.trigger_id, e.data, e.unschedule, e.error, e.place
      FROM unnest($1::bigint[], $2::bigint[], $3::integer[], $4::integer[], $5::json[], $6::boolean[], $7::text[])
           WITH ORDINALITY AS e(run_id, fence, job_id, trigger_id, data, unschedule, error, place)
     WHERE EXISTS (SELECT FROM rota.task_history h WHERE h.id = e.run_id AND h.fence = e.fence AND h.ended_at = now())
), kept AS (
    INSERT INTO rota.job_data AS d (job_id, data, run_id)
    SELECT n.job_id, n.data, n.run_id
      FROM (SELECT DISTINCT ON (e.job_id) e.job_id, e.data, e.run_id
              FROM effect e WHERE e.data IS NOT NULL ORDER BY e.job_id, e.place DESC) n
      JOIN rota.job j ON j.id = n.job_id AND j.persist_data
    ON CONFLICT (job_id) DO UPDATE SET data = excluded.data, run_id = excluded.run_id, written_at = now()
), ended AS (
    UPDATE rota.trigger_due d SET state = 'C', next_at = NULL, error = NULL, error_at = NULL
      FROM effect e WHERE e.unschedule AND d.trigger_id = e.trigger_id
), failed AS (
    UPDATE rota.trigger_due d SET state = 'E', error = e.error, error_at = now(), error_run = e.run_id
      FROM effect e WHERE e.error IS NOT NULL AND NOT e.unschedule AND d.trigger_id = e.trigger_id AND d.state IN ('W', 'B')
)
SELECT count(*) FROM effect e
