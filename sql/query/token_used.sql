-- Notes that a token was used, once an hour at most.
-- $1 token: its id
-- on: client
UPDATE rota.token SET used_at = now()
 WHERE id = $1::integer AND coalesce(used_at < now() - interval '1 hour', true)
