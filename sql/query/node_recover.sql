-- Takes what a dead incarnation held; runs of lanes only when its lease is over. No row: somebody else was
-- faster, or it is claiming right now.
-- $1 incarnation: the dead one
-- $2 believed: what time it is for the database, by a clock of the caller's that nobody sets
-- $3 steady_ms: for how long the two have agreed, NULL: as long as he knows
-- $4 lanes: whether the asker has known the database for restart_delay, so that the lease can be trusted
-- on: session
SELECT r.put_back, r.lost, r.waits
  FROM rota.recover($1::integer, $2::timestamptz, $3::bigint * interval '1 ms', $4::boolean) r
