-- How a node stands: its newest incarnation that is not evicted. No row: it is gone.
-- $1 node: its name
-- on: client
SELECT s.state, s.running, s.slots
  FROM rota.node_state s WHERE s.node = $1::text AND s.evicted_at IS NULL
 ORDER BY s.incarnation DESC LIMIT 1
