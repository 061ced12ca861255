-- Queues runs of a job: a row for each, with what became of its key. 22023: there is no such job.
-- $1 job: its name
-- $2 data: of each run, laid over the job's; NULL elements for none
-- $3 at: when they may start; NULL: after $4
-- $4 delay_ms: milliseconds from now
-- $5 priority: NULL: the job's
-- $6 key: of all of them; NULL: what the job says
-- $7 on_conflict: reject, existing, replace, keep_time; NULL: what the job says
-- $8 after: ids of runs they wait for; NULL: none
-- $9 after_any: whatever becomes of those
-- $10 expires_ms: not started so long after their time they are dropped; NULL: what the job says
-- $11 traceparent: W3C trace context for their workers; NULL: none
-- $12 watched: somebody waits for their end
-- on: client
SELECT e.run_id, e.conflict
  FROM rota.enqueue_runs($1::text, $2::json[],
                         coalesce($3::timestamptz, CASE WHEN $4::bigint > 0 THEN now() + $4::bigint * interval '1 ms' END),
                         $5::integer, CASE WHEN $6::text IS NOT NULL THEN array_fill($6::text, ARRAY[cardinality($2::json[])]) END,
                         $7::text, $8::bigint[], $9::boolean, $10::bigint * interval '1 ms', $11::text, $12::boolean)
       WITH ORDINALITY AS e(run_id, conflict, place)
 ORDER BY e.place
