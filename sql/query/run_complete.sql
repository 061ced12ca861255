-- Moves finished runs from their receipts into the history, each exactly once: a bit that is not set
-- any more (done before, or recovered elsewhere) writes nothing. Returns how many were in time. What runs
-- have in common is said once, as their kind; an array is NULL where none of them has any.
-- $1 incarnation: of this node
-- $2 fences: the receipts
-- $3 masks: bits to clear in each
-- $4 kind_receipts: receipt of each kind, its place among them
-- $5 tasks: name of its job
-- $6 statuses: success, failed or unknown
-- $7 outcomes: the finer word
-- $8 attempts: which attempt this was
-- $9 missed: occurrences each stood for besides its own
-- $10 misfired: whether the misfire policy made them up
-- $11 kinds: kind of each run, its place among them
-- $12 slots: its bit
-- $13 ids: its id
-- $14 triggers: its trigger's name or NULL
-- $15 started: when it was handed to a worker, NULL if it never was
-- $16 durations: milliseconds, NULL if it never ran
-- $17 scheduled: its own time
-- $18 details: task_details or NULL
-- $19 data: the run's own, NULL for none
-- $20 node: name
-- on: work
WITH cleared AS MATERIALIZED (
    -- LIMIT, IS TRUE: each by its key, however small the planner takes the table for. The index on incarnations leads
    -- through all receipts it has had, as long as an old snapshot is open
    SELECT m.place, r.fence, r.open, r.open & ~m.mask AS rest
      FROM unnest($2::bigint[], $3::varbit[]) WITH ORDINALITY AS m(fence, mask, place) CROSS JOIN LATERAL (
           SELECT o.fence, o.open FROM rota.receipt o
            WHERE o.fence = m.fence AND (o.incarnation = $1::integer) IS TRUE AND length(o.open) = length(m.mask) LIMIT 1 FOR UPDATE) r
), gone AS (
    DELETE FROM rota.receipt r WHERE r.fence = ANY (ARRAY(SELECT c.fence FROM cleared c WHERE bit_count(c.rest) = 0))
), kept AS (
    UPDATE rota.receipt r SET open = (SELECT c.rest FROM cleared c WHERE c.fence = r.fence)
     WHERE r.fence = ANY (ARRAY(SELECT c.fence FROM cleared c WHERE bit_count(c.rest) > 0))
), kind AS MATERIALIZED (
    SELECT k.place, c.fence, c.open, k.task, k.status, k.outcome, k.attempt, k.missed, k.misfired
      FROM unnest($4::integer[], $5::text[], $6::text[], $7::text[], $8::smallint[], $9::integer[], $10::boolean[])
           WITH ORDINALITY AS k(receipt, task, status, outcome, attempt, missed, misfired, place)
      JOIN cleared c ON c.place = k.receipt
), written AS (
    INSERT INTO rota.task_history (id, task, trigger, started_at, ended_at, duration_ms, status, outcome, node, attempt,
                                   missed, scheduled_at, fence, task_details, misfired, data)
    SELECT h.id, k.task, h.trigger, h.started_at, now(), h.duration_ms, k.status, k.outcome, $20::text, k.attempt,
           k.missed, h.scheduled_at, k.fence, h.details, k.misfired, h.data
      FROM unnest($11::integer[], $12::integer[], $13::bigint[], $14::text[], $15::timestamptz[], $16::bigint[],
                  $17::timestamptz[], $18::json[], $19::json[])
           AS h(kind, slot, id, trigger, started_at, duration_ms, scheduled_at, details, data)
      JOIN kind k ON k.place = h.kind
     WHERE get_bit(k.open, h.slot) = 1
    RETURNING 1
)
SELECT count(*) FROM written
