-- Made-up runs whose times passed while no node was there to start them: spread anew from now on, so that
-- they do not come all at once. Does nothing while none is late.
-- $1 pace_us: microseconds between made-up runs
-- on: work
WITH waiting AS MATERIALIZED (
    SELECT p.id, p.due
      FROM rota.pending p
     WHERE p.made_up AND p.due < 'infinity'
       AND (SELECT min(l.due) FROM rota.pending l WHERE l.made_up) < now() - interval '1 second'
       FOR UPDATE SKIP LOCKED
), spread AS MATERIALIZED ( -- those that are later than that keep their times: the distances hold for all
    SELECT w.id, w.due,
           greatest(w.due, now() + (row_number() OVER (ORDER BY w.due, w.id) - 1) * $1::bigint * interval '1 us') AS again
      FROM waiting w
), moved AS (
    UPDATE rota.pending p SET due = s.again FROM spread s WHERE p.id = s.id AND s.again > s.due
    RETURNING 1
), pace AS (
    UPDATE rota.fleet f SET paced_until = greatest(f.paced_until, l.again + $1::bigint * interval '1 us')
      FROM (SELECT max(s.again) AS again FROM spread s) l WHERE l.again IS NOT NULL
)
SELECT count(*) FROM moved
