-- Says that the fleet looks for work by itself for a moment: who enqueues need not tell it (rota.wake). Where it
-- has not been so for a while, the other nodes are told to look, too. Returns until when; no row: somebody else
-- is saying it just now.
-- $1 for_ms: how long
-- on: session
WITH mine AS MATERIALIZED (
    SELECT b.singleton, b.busy_until FROM rota.busy b FOR UPDATE SKIP LOCKED
), marked AS (
    UPDATE rota.busy b SET busy_until = clock_timestamp() + $1::bigint * interval '1 ms'
      FROM mine m WHERE b.singleton = m.singleton
    RETURNING b.busy_until, m.busy_until < clock_timestamp() - interval '3 s' AS first
)
SELECT m.busy_until, CASE WHEN m.first THEN pg_notify('rota.wake', 'busy')::text END FROM marked m
