-- Queues runs of a job. No id: there is no such job.
-- $1 job: its name
-- $2 data: laid over the job's; NULL for none
-- $3 at: when it may start; NULL: after $4
-- $4 delay_ms: milliseconds from now
-- $5 priority: NULL: the job's
-- $6 count: how many runs
-- $7 watched: whether somebody waits for their end
-- on: client
SELECT ARRAY(SELECT e.run_id
               FROM rota.job j CROSS JOIN LATERAL
                    rota.enqueue_runs(j.name, array_fill($2::json, ARRAY[$6::integer]),
                                      coalesce($3::timestamptz, now() + $4::bigint * interval '1 ms'), $5::smallint, NULL, NULL,
                                      NULL, NULL, NULL, NULL, $7::boolean) e
              WHERE j.name = $1::text)
