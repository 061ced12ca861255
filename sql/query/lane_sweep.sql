-- Wakes what an event should have woken: lanes with room and somebody who waits, slots of runs that are out
-- no more, runs held for a pause that is over.
-- on: session
SELECT s.freed, s.woken, s.released FROM rota.lane_sweep() s
