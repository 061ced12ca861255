-- The end of the two statements that claim what waits: `placed`, in the order of their bits, and bundles, `drawn`,
-- into receipts of `claimer`; and what the node is told, a row a receipt. An array is NULL where there is nothing
-- to say of any of its runs, and what all have in common stands beside it.
, sum AS MATERIALIZED (
    SELECT count(*)::integer AS runs, array_agg(p.id) AS ids, array_agg(p.data) AS data, count(p.data) AS with_data,
           bool_and(p.attempt = 1 AND p.crashes = 0 AND p.missed = 0 AND NOT p.recovering AND p.trigger_id IS NULL AND NOT p.made_up
                    AND NOT p.extra AND p.checkpoint IS NULL AND p.earlier IS NULL AND p.scheduled_at = p.due) AS plain,
           min(p.route) AS route, max(p.route) AS last_route, min(p.job_id) AS job, max(p.job_id) AS last_job,
           min(p.due) AS due, max(p.due) AS last_due, min(p.enqueued_at) AS enqueued, max(p.enqueued_at) AS last_enqueued
      FROM placed p
), receipt AS (
    INSERT INTO rota.receipt (incarnation, laned, open, ids, data, route_all, routes, job_all, job_ids, due_all, dues,
                              enqueued_all, enqueued_at, trigger_ids, scheduled_at, attempts, crashes, missed, recovering,
                              checkpoints, earlier, made_up, extra)
    SELECT k.incarnation, k.laned, repeat('1', s.runs)::varbit, s.ids, CASE WHEN s.with_data > 0 THEN s.data END,
           CASE WHEN s.route = s.last_route THEN s.route END,
           CASE WHEN s.route <> s.last_route THEN ARRAY(SELECT p.route FROM placed p) END,
           CASE WHEN s.job = s.last_job THEN s.job END,
           CASE WHEN s.job <> s.last_job THEN ARRAY(SELECT p.job_id FROM placed p) END,
           CASE WHEN s.due = s.last_due THEN s.due END,
           CASE WHEN s.due <> s.last_due THEN ARRAY(SELECT p.due FROM placed p) END,
           CASE WHEN s.enqueued = s.last_enqueued THEN s.enqueued END,
           CASE WHEN s.enqueued <> s.last_enqueued THEN ARRAY(SELECT p.enqueued_at FROM placed p) END,
           CASE WHEN NOT s.plain THEN ARRAY(SELECT p.trigger_id FROM placed p) END,
           CASE WHEN NOT s.plain THEN ARRAY(SELECT p.scheduled_at FROM placed p) END,
           CASE WHEN NOT s.plain THEN ARRAY(SELECT p.attempt FROM placed p) END,
           CASE WHEN NOT s.plain THEN ARRAY(SELECT p.crashes FROM placed p) END,
           CASE WHEN NOT s.plain THEN ARRAY(SELECT p.missed FROM placed p) END,
           CASE WHEN NOT s.plain THEN ARRAY(SELECT p.recovering FROM placed p) END,
           CASE WHEN NOT s.plain THEN ARRAY(SELECT p.checkpoint FROM placed p) END,
           CASE WHEN NOT s.plain THEN ARRAY(SELECT p.earlier FROM placed p) END,
           CASE WHEN NOT s.plain THEN ARRAY(SELECT p.made_up FROM placed p) END,
           CASE WHEN NOT s.plain THEN ARRAY(SELECT p.extra FROM placed p) END
      FROM sum s CROSS JOIN claimer k WHERE s.runs > 0
    UNION ALL
    SELECT k.incarnation, k.laned, repeat('1', d.runs)::varbit, d.ids[d.taken + 1 : d.taken + d.runs],
           d.data[d.taken + 1 : d.taken + d.runs], d.route, NULL, d.job_id, NULL, d.due, NULL, d.enqueued_at, NULL,
           NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
      FROM drawn d CROSS JOIN claimer k
    RETURNING fence, ids, data, job_all, job_ids, route_all, routes, due_all, dues, trigger_ids, scheduled_at, attempts, crashes, missed,
              recovering, checkpoints, earlier, made_up, extra
)
