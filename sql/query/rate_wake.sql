-- Gives starts to runs that wait for their rate, at a few of the buckets whose time has come. Returns how many
-- buckets it looked at, how many runs may start, of lanes and others, and when the next event is.
-- $1 at_most: events to look at
-- on: work
SELECT w.looked, w.laned, w.plain, w.next_at FROM rota.rate_wake($1::integer) w
