-- Takes what a dead incarnation held; runs of lanes only when its lease is over. No row: somebody else was
-- faster, or it is claiming right now.
-- $1 incarnation: the dead one
-- on: session
SELECT r.put_back, r.lost, r.waits FROM rota.recover($1::integer) r
