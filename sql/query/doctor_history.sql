-- Partitions of the history for today and the two days after; and whether what is over is cleared away.
-- on: client
WITH part AS MATERIALIZED (
    SELECT p.name, p.lower_at, p.upper_at, p.counted FROM rota.history_parts() p
), day AS (
    SELECT (d.day AT TIME ZONE 'UTC')::date AS day,
           EXISTS (SELECT FROM part p WHERE p.lower_at <= greatest(d.day, clock_timestamp()) AND p.upper_at >= d.day + interval '24 hours') AS there
      FROM generate_series(date_trunc('day', now(), 'UTC'), date_trunc('day', now(), 'UTC') + interval '48 hours',
                           interval '24 hours') AS d(day)
)
SELECT CASE WHEN bool_and(d.there) THEN 'ok' WHEN bool_and(d.there OR d.day > (now() AT TIME ZONE 'UTC')::date + 1) THEN 'warn' ELSE 'bad' END,
       'history', 'database',
       CASE WHEN bool_and(d.there) THEN 'the history has partitions for today and the days after'
            ELSE 'the history has no partition for ' || string_agg(d.day::text, ', ' ORDER BY d.day) FILTER (WHERE NOT d.there)
                 || ': runs that end then cannot be recorded' END,
       'the leader makes them every 15 s: see that a node runs; `SELECT rota.history_ensure(3)` makes them now'
  FROM day d
UNION ALL
SELECT 'warn', 'history', 'partitions',
       format('%s partitions of the history are over since %s and not counted: retention does not see them', count(*),
              rota.instant_text(min(p.upper_at))),
       'the leader counts them within seconds: see that a node runs, and that no old transaction reads the history'
  FROM part p WHERE NOT p.counted AND p.upper_at < clock_timestamp() - interval '10 minutes'
HAVING count(*) > 0
