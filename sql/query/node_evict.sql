-- Takes the work of the evicted incarnations of a node; called until none remains.
-- $1 node: its name
-- $2 believed: what time it is for the database, by a clock of the caller's that nobody sets
-- $3 steady_ms: for how long the two have agreed
-- on: client
SELECT e.remaining, e.lease_left_ms, e.put_back, e.lost, e.foreign_connections, clock_timestamp()
  FROM rota.node_evict($1::text, $2::timestamptz, $3::bigint * interval '1 ms') e
