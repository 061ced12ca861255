-- Forgets cluster locks that nobody has used for a day, and their names.
-- on: session
SELECT rota.cluster_lock_sweep(interval '1 day')
