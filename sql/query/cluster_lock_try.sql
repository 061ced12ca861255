-- Takes a cluster lock for this session, or says why not; and what time it is. Commits what it writes.
-- $1 name: of the lock
-- $2 mode: exclusive or share
-- $3 holder: who takes it, for people
-- $4 free_after_ms: without renewal, if the holder has died
-- $5 take: false where this session has the advisory lock in this mode already
-- $6 believed: what time it is for the database, by a clock of the asker's that nobody sets; NULL: not known
-- $7 steady_ms: for how long the two have agreed, NULL: as long as he knows
-- on: session client
SELECT t.outcome, t.fence, t.held_by, t.free_in_ms, clock_timestamp()
  FROM rota.cluster_lock_try($1::text, $2::text, $3::text, $4::bigint, $5::boolean,
                             coalesce($6::timestamptz, 'infinity'), $7::bigint * interval '1 ms') t
