-- The second half of a release: the advisory lock goes, and whoever waits is told.
-- $1 name: of the lock
-- $2 mode: exclusive or share, as it was taken
-- on: session client
SELECT rota.cluster_lock_drop($1::text, $2::text), pg_notify('rota.lock', 'lock ' || $1::text)
