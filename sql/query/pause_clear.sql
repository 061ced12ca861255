-- Takes a pause back. NULL: there is no such trigger or job, nor source.
-- $1 scope: trigger, job, source, all
-- $2 name: NULL with all
-- $3 catch_up: what fell meanwhile meets the misfire policy
-- on: client
SELECT rota.resume($1::text, $2::text, $3::boolean)
