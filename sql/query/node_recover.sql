-- Takes what a dead incarnation held; runs of lanes only when its lease is over. No row: somebody else was
-- faster, or it is claiming right now.
-- $1 incarnation: the dead one
-- $2 lanes: whether the asker has known the database for restart_delay, so that the lease can be trusted
-- on: session
SELECT r.put_back, r.lost, r.waits FROM rota.recover($1::integer, $2::boolean) r
