-- Triggers and jobs that are declared no more, or deleted, after manifest_end.
-- $1 triggers: ids
-- $2 jobs: ids
-- on: client
WITH fewer AS (
    DELETE FROM rota.trigger t WHERE t.id = ANY ($1::integer[])
)
DELETE FROM rota.job j WHERE j.id = ANY ($2::integer[])
