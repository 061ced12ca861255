-- Ends runs that have expired where they wait, and removes a slice of what runs left behind.
-- $1 since: run id, beyond which the slice begins
-- on: session
SELECT s.expired, s.left_behind, s.next_since FROM rota.extra_sweep($1::bigint) s
