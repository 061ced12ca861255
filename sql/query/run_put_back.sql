-- Claimed runs go back to pending: unstarted ones, retries, snoozes, those whose worker died.
-- $1 incarnation: of this node
-- $2 fences: receipt of each run
-- $3 slots: its bit
-- $4 delays: milliseconds until it may start again, 0: at its own time
-- $5 more_attempts: 1 if this attempt counts
-- $6 more_crashes: 1 if it killed its worker alone
-- $7 recovering: whether its next attempt is told so
-- $8 entries: what to tell of this attempt later, NULL for nothing
-- on: work
SELECT rota.put_back($1::integer, $2::bigint[], $3::integer[], $4::bigint[], $5::integer[], $6::integer[],
                     $7::boolean[], $8::jsonb[])
