-- What the node is told of its receipts: see claim_receipt. A row each.
SELECT r.fence, r.ids, r.data, r.job_all, r.job_ids, r.route_all, r.routes, r.due_all, r.dues, r.trigger_ids, r.scheduled_at, r.attempts, r.crashes,
       r.missed, r.recovering, r.checkpoints, r.earlier::text[], r.made_up, r.extra,
       CASE WHEN EXISTS (SELECT FROM placed p WHERE p.bucket IS NOT NULL) AND r.ids[1] = (SELECT p.id FROM placed p LIMIT 1)
            THEN ARRAY(SELECT p.bucket IS NOT NULL FROM placed p) END,
       (SELECT f.definition_revision FROM rota.fleet f),
       ARRAY(SELECT o.bundles FROM reached o), ARRAY(SELECT o.route FROM reached o), ARRAY(SELECT o.due FROM reached o)
  FROM receipt r
