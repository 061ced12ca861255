-- Adds to the audit what is done in this transaction.
-- $1 who: name of the token; NULL: the role of the session
-- $2 address: of the client
-- $3 node: that it asked
-- $4 action: pause, fire, …
-- $5 noun: what it was done to
-- $6 name: and its name
-- $7 request: as JSON
-- $8 answer: as JSON
-- $9 before: how it stood
-- on: client
INSERT INTO rota.audit (who, address, node, action, noun, name, request, answer, before, after)
VALUES (coalesce($1::text, session_user), $2::text, $3::text, $4::text, $5::text, $6::text, $7::json, $8::json, $9::json,
        rota.audit_state($5::text, $6::text))
