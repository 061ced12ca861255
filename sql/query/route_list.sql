-- The routes of the handlers a node's workers serve.
-- $1 handlers: their names
-- on: session
SELECT r.id, r.handler, r.priority FROM rota.route r WHERE r.handler = ANY ($1::text[]) ORDER BY r.id
