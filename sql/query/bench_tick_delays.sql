-- How late runs were handed to workers, in milliseconds, of occurrences in a span of time: half of them,
-- all but one in a hundred, the latest. And how many runs began in each second of it.
-- $1 from: the first occurrence
-- $2 seconds: how many
-- on: client
WITH run AS MATERIALIZED (
    SELECT h.started_at, h.scheduled_at FROM rota.task_history h
     WHERE h.trigger IS NOT NULL AND h.scheduled_at >= $1::timestamptz
       AND h.scheduled_at < $1::timestamptz + $2::integer * interval '1 s'
), late AS (
    SELECT percentile_disc(ARRAY[0.5, 0.99, 1]) WITHIN GROUP (ORDER BY extract(epoch FROM r.started_at - r.scheduled_at)::float8 * 1000) AS ms
      FROM run r
)
SELECT /* bench */ l.ms[1], l.ms[2], l.ms[3],
       ARRAY(SELECT count(c.number) FROM generate_series(0, $2::integer - 1) AS s(number)
               LEFT JOIN (SELECT floor(extract(epoch FROM r.started_at - $1::timestamptz))::integer AS number FROM run r) c
                      ON c.number = s.number
              GROUP BY s.number ORDER BY s.number)
  FROM late l
