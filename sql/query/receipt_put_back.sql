-- Receipts of this node that it knows nothing of (their claim's answer was lost): put back whole.
-- $1 incarnation: of this node
-- $2 fences: the receipts
-- on: work
SELECT coalesce(sum(b.moved), 0)::bigint
  FROM (SELECT rota.put_back($1::integer, array_agg(r.fence), array_agg(o.slot), array_agg(0::bigint),
                             array_agg(0), array_agg(0), array_agg(false), array_agg(NULL::jsonb)) AS moved
          FROM rota.receipt r CROSS JOIN LATERAL rota.receipt_runs(r) o
         WHERE r.incarnation = $1::integer AND r.fence = ANY ($2::bigint[])
        HAVING count(*) > 0) b
