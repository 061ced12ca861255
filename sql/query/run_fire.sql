-- One extra firing now: of a trigger, or of a job if no trigger has the name. 22023: neither exists.
-- $1 name: of a trigger or a job
-- on: client
SELECT rota.fire($1::text)
