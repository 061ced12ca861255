-- The nodes of a bench that serve a handler, and those of them in a state.
-- $1 handler: its name
-- $2 state: standby or running
-- on: client
SELECT /* bench */ n.node, n.state = $2::text, n.pid FROM rota.node_state n WHERE $1::text = ANY (n.handlers)
