-- Definitions of jobs.
-- $1 jobs: their ids
-- on: work
SELECT j.id, j.revision, j.name, j.handler, j.data::text, coalesce(j.timeout_ms, 0), j.max_attempts, j.backoff,
       j.retry_initial_ms, j.retry_max_ms, j.retry_jitter, j.max_crashes, j.requests_recovery,
       j.held, coalesce(j.lane_limit, 0), j.persist_data, j.on_exhausted = 'error',
       j.on_failure IS NOT NULL
  FROM rota.job j
 WHERE j.id = ANY ($1::integer[])
