-- Takes the work of the evicted incarnations of a node; called until none remains.
-- $1 node: its name
-- on: client
SELECT e.remaining, e.lease_left_ms, e.put_back, e.lost, e.foreign_connections FROM rota.node_evict($1::text) e
