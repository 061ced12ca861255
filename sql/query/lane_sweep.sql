-- Wakes what an event should have woken: lanes with room and somebody who waits, slots of runs that are out
-- no more.
-- on: session
SELECT s.freed, s.woken FROM rota.lane_sweep() s
