-- What jobs with persist_data were left with by their last successful runs; no row: as declared.
-- $1 jobs: ids
-- on: work
SELECT d.job_id, d.data::text FROM rota.job_data d WHERE d.job_id = ANY ($1::integer[])
