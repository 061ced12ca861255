-- Buckets whose event was lost are looked at again, a slice of all. Returns how many, and where the next slice
-- begins.
-- $1 since: bucket, beyond which the slice begins; the least number of all for the beginning
-- on: session
SELECT s.missing, s.next_since FROM rota.rate_sweep($1::bigint) s
