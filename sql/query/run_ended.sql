-- What follows the end of runs, in the transaction that wrote them into the history, and only for those that
-- this transaction wrote: their logs, keys and requests go, whoever waits for them is told.
-- $1 ids: of the runs
-- $2 fences: under which they were claimed
-- on: work
SELECT count(rota.runs_ended(e.ids))
  FROM (SELECT array_agg(h.id) AS ids
          FROM unnest($1::bigint[], $2::bigint[]) AS e(run_id, fence)
          JOIN rota.task_history h ON h.id = e.run_id AND h.fence = e.fence AND h.ended_at = now()) e
 WHERE e.ids IS NOT NULL
