-- The first half of a release: the row says free, if it is still ours. The advisory lock goes after this is
-- committed, or the next holder would find the row held.
-- $1 name: of the lock
-- $2 fence: by which it was held
-- on: session client
SELECT rota.cluster_lock_clear($1::text, $2::bigint)
