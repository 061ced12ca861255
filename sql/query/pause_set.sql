-- Stops the triggers of a scope and holds its waiting runs. NULL: there is no such trigger or job.
-- $1 scope: trigger, job, source, all
-- $2 name: NULL with all
-- on: client
SELECT rota.pause($1::text, $2::text)
