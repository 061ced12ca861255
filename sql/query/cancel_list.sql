-- What is to be cancelled and has not ended: what node_heartbeat brings.
-- on: session
SELECT coalesce(array_agg(c.run_id ORDER BY c.run_id), '{}'), coalesce(array_agg(c.reason ORDER BY c.run_id), '{}')
  FROM (SELECT r.run_id, r.reason FROM rota.cancel_request r ORDER BY r.requested_at, r.run_id LIMIT 1000) c
