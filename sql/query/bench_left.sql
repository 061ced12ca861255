-- Whether a run still waits or is claimed. The newest one that waits is found from the end of the index:
-- asked again and again, this must not read what the claims have left behind.
-- on: client
SELECT /* bench */ (SELECT max(p.id) FROM rota.pending p) IS NOT NULL OR EXISTS (SELECT FROM rota.receipt)
