-- Takes a cluster lock for this session, or says why not. Commits what it writes.
-- $1 name: of the lock
-- $2 mode: exclusive or share
-- $3 holder: who takes it, for people
-- $4 free_after_ms: without renewal, if the holder has died
-- $5 take: false where this session has the advisory lock in this mode already
-- on: session client
SELECT t.outcome, t.fence, t.held_by, t.free_in_ms
  FROM rota.cluster_lock_try($1::text, $2::text, $3::text, $4::bigint, $5::boolean) t
