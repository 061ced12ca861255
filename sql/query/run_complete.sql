-- Moves finished runs from their receipts into the history, each exactly once: a bit that is not set
-- any more (done before, or recovered elsewhere) writes nothing. Returns how many were in time.
-- $1 incarnation: of this node
-- $2 fences: the receipts
-- $3 masks: bits to clear in each
-- $4 run_fences: receipt of each run
-- $5 slots: its bit
-- $6 ids: its id
-- $7 tasks: its job's name
-- $8 triggers: its trigger's name or NULL
-- $9 started: when it was handed to a worker, NULL if it never was
-- $10 durations: milliseconds, NULL if it never ran
-- $11 statuses: success, failed or unknown
-- $12 outcomes: the finer word
-- $13 attempts: which attempt this was
-- $14 missed: occurrences it stood for besides its own
-- $15 scheduled: its own time
-- $16 details: task_details or NULL
-- $17 node: name
-- $18 misfired: whether the misfire policy made it up
-- $19 data: the run's own, NULL for none
-- on: work
WITH cleared AS MATERIALIZED (
    SELECT r.fence, r.open, r.open & ~m.mask AS rest
      FROM unnest($2::bigint[], $3::varbit[]) AS m(fence, mask)
      JOIN rota.receipt r ON r.fence = m.fence AND r.incarnation = $1::integer AND length(r.open) = length(m.mask)
       FOR UPDATE OF r
), gone AS (
    DELETE FROM rota.receipt r USING cleared c WHERE r.fence = c.fence AND bit_count(c.rest) = 0
), kept AS (
    UPDATE rota.receipt r SET open = c.rest FROM cleared c WHERE r.fence = c.fence AND bit_count(c.rest) > 0
), written AS (
    INSERT INTO rota.task_history (id, task, trigger, started_at, ended_at, duration_ms, status, outcome, node, attempt,
                                   missed, scheduled_at, fence, task_details, misfired, data)
    SELECT h.id, h.task, h.trigger, h.started_at, now(), h.duration_ms, h.status, h.outcome, $17::text, h.attempt,
           h.missed, h.scheduled_at, h.fence, h.details, h.misfired, h.data
      FROM unnest($4::bigint[], $5::integer[], $6::bigint[], $7::text[], $8::text[], $9::timestamptz[], $10::bigint[],
                  $11::text[], $12::text[], $13::smallint[], $14::integer[], $15::timestamptz[], $16::json[],
                  $18::boolean[], $19::json[])
           AS h(fence, slot, id, task, trigger, started_at, duration_ms, status, outcome, attempt, missed, scheduled_at,
                details, misfired, data)
      JOIN cleared c ON c.fence = h.fence
     WHERE get_bit(c.open, h.slot) = 1
    RETURNING 1
)
SELECT count(*) FROM written
