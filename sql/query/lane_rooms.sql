-- Locks lanes until the end of the transaction and tells which of their slots are free. A lane that is
-- not among the answers is somebody else's at this moment.
-- $1 lanes: each as often as there are candidates
-- $2 limits: runs at once, of each
-- on: work
SELECT r.lane, r.slots::bigint[] FROM rota.lane_rooms($1::bigint[], $2::integer[]) r
