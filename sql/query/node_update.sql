-- What others may know of this node.
-- $1 incarnation: its id
-- $2 state: standby, running, draining or disabled
-- $3 handlers: what its workers announced
-- $4 slots: runs it can have at once
-- $5 http: its URL, NULL if none
-- $6 versions: a JSON object: of each handler, in which versions it is served
-- on: session
UPDATE rota.incarnation SET state = $2::text, handlers = $3::text[], slots = $4::integer, http = $5::text,
       versions = $6::text::jsonb
 WHERE id = $1::integer
