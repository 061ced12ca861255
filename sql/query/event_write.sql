-- Writes a batch of events of this node, after what others have told; NULL: another writes at this moment.
-- $1 node: its name
-- $2 number: of the batch
-- $3 again: whether it may be written already
-- $4 changes: how many are in it; 0: only what others have told
-- $5 lines: kind, facts as JSON, ids of runs, with tabs between
-- on: session
SELECT rota.event_write($1::text, $2::bigint, $3::boolean, $4::integer, $5::text)
