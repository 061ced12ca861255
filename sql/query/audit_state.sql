-- How a thing stands, for the audit. NULL: there is none.
-- $1 noun: job, trigger, run, node, source or all
-- $2 name: its name, or a run's id
-- on: client
SELECT rota.audit_state($1::text, $2::text)::text
