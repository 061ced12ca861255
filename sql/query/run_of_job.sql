-- Runs of a job that wait or are claimed, a page of them in the order of their ids. No row: no such job.
-- $1 job: its name
-- $2 after: the last id of the page before; 0 for the first
-- $3 until: ids up to this one, as the first page told; NULL for the first
-- $4 limit: rows at most
-- on: client
WITH wanted AS MATERIALIZED (
    SELECT j.id, coalesce($3::bigint, (SELECT s.last_value FROM rota.run_id s)) AS until
      FROM rota.job j WHERE j.name = $1::text
)
SELECT w.until, ARRAY(SELECT u.id
                        FROM ((SELECT p.id FROM rota.pending p
                                WHERE p.job_id = w.id AND p.id > $2::bigint AND p.id <= w.until ORDER BY p.id LIMIT $4::bigint)
                              UNION ALL
                              (SELECT o.id FROM rota.bundle b CROSS JOIN LATERAL rota.bundle_rest(b) o
                                WHERE b.job_id = w.id AND o.id > $2::bigint AND o.id <= w.until ORDER BY o.id LIMIT $4::bigint)
                              UNION ALL
                              (SELECT o.id FROM rota.receipt r CROSS JOIN LATERAL rota.receipt_runs(r) o
                                WHERE (r.job_all = w.id OR w.id = ANY (r.job_ids)) AND o.job_id = w.id AND o.id > $2::bigint AND o.id <= w.until
                                ORDER BY o.id LIMIT $4::bigint)) u
                       ORDER BY u.id LIMIT $4::bigint)
  FROM wanted w
