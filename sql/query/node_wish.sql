-- Asks a node to be something, and what it is so far. known false: there was never such a node.
-- $1 node: its name
-- $2 wish: run, standby, drain or evict
-- on: client
SELECT w.known, w.state, w.wish, w.already FROM rota.node_wish($1::text, $2::text) w
