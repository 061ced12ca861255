-- Buckets whose event was lost are looked at again. Returns how many.
-- on: session
SELECT rota.rate_sweep()
