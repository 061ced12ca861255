-- Bundles of jobs that are about to change in what their runs have in common are opened: what waits of them is
-- moved as rows. Returns how many runs.
-- $1 jobs: their names
-- on: client
SELECT rota.bundles_open_jobs(ARRAY(SELECT j.id FROM rota.job j WHERE j.name = ANY ($1::text[])))
