-- Wakes as many of those who wait for the lanes as fit: when a trigger leaves its lane without having taken a
-- place in it, in the transaction of that firing.
-- $1 lanes: those with room
-- on: work
SELECT rota.lane_wake($1::bigint[])
