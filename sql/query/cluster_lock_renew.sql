-- The holder lives. Returns which of the fences still hold.
-- $1 fences: of all locks held
-- on: session client
SELECT rota.cluster_lock_renew($1::bigint[])
