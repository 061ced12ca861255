-- The same for a slice of all that is waited for.
-- $1 since: run id, beyond which the slice begins
-- on: session
SELECT s.released, s.ended, s.next_since FROM rota.after_sweep($1::bigint) s
