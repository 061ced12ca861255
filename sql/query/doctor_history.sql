-- Partitions of the history for today and the two days after.
-- on: client
WITH day AS (
    SELECT d.day::date AS day, to_regclass('rota.task_history_' || to_char(d.day, 'YYYYMMDD')) IS NOT NULL AS there
      FROM generate_series(current_date, current_date + 2, interval '1 day') AS d(day)
)
SELECT CASE WHEN bool_and(d.there) THEN 'ok' WHEN bool_and(d.there OR d.day > current_date + 1) THEN 'warn' ELSE 'bad' END,
       'history', 'database',
       CASE WHEN bool_and(d.there) THEN 'the history has partitions for today and the days after'
            ELSE 'the history has no partition for ' || string_agg(d.day::text, ', ' ORDER BY d.day) FILTER (WHERE NOT d.there)
                 || ': runs that end then cannot be recorded' END,
       'the leader makes them every hour: see that a node runs; `SELECT rota.history_ensure(3)` makes them now'
  FROM day d
