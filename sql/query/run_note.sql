-- What workers said of their runs while they ran: progress, checkpoints, lines of their logs. Only of runs
-- that are still ours: the lock on the receipt holds up whoever would take them over. Returns how many.
-- $1 incarnation: of this node
-- $2 ids: of the runs
-- $3 fences: receipt of each
-- $4 slots: its bit
-- $5 fractions: NaN: not said
-- $6 messages: NULL: not said
-- $7 checkpoints: NULL: not said
-- $8 logs: new lines, an array; NULL: none
-- $9 dropped: lines that did not fit
-- on: work
WITH said AS MATERIALIZED (
    SELECT n.id, n.fence, nullif(n.fraction, 'NaN') AS fraction, n.message, n.checkpoint, n.logs, n.dropped
      FROM unnest($2::bigint[], $3::bigint[], $4::integer[], $5::real[], $6::text[], $7::json[], $8::jsonb[], $9::bigint[])
           AS n(id, fence, slot, fraction, message, checkpoint, logs, dropped)
      JOIN rota.receipt r ON r.fence = n.fence AND r.incarnation = $1::integer
     WHERE get_bit(r.open, n.slot) = 1
       FOR KEY SHARE OF r
), noted AS (
    INSERT INTO rota.run_extra AS x (run_id, fence, fraction, message, checkpoint, logs, logs_dropped, noted_at)
    SELECT s.id, s.fence, s.fraction, s.message, s.checkpoint, rota.logs_add(NULL, s.logs),
           s.dropped + rota.logs_lost(NULL, s.logs), now()
      FROM said s ORDER BY s.id
    ON CONFLICT (run_id) DO UPDATE
       SET fence = excluded.fence, fraction = coalesce(excluded.fraction, x.fraction),
           message = coalesce(excluded.message, x.message), checkpoint = coalesce(excluded.checkpoint, x.checkpoint),
           logs = rota.logs_add(x.logs, excluded.logs),
           logs_dropped = x.logs_dropped + excluded.logs_dropped + rota.logs_lost(x.logs, excluded.logs),
           noted_at = now()
     WHERE coalesce(x.fence, 0) <= excluded.fence
    RETURNING 1
)
SELECT count(*) FROM noted
