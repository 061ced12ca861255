-- Whether each of these runs has exactly one row of success in the history, and when the first began and the
-- last ended, by the database's clock. How many have none, several, another end; how many rows between
-- their ids are of other runs; how many runs are not over; how many runs each node has ended.
-- $1 ids: of the runs
-- on: client
WITH wanted AS MATERIALIZED (
    SELECT w.id FROM unnest($1::bigint[]) AS w(id)
), found AS MATERIALIZED (
    SELECT h.id, count(*) AS times, count(*) FILTER (WHERE h.status = 'success') AS good, min(h.started_at) AS first_at,
           max(h.ended_at) AS last_at, min(h.node) AS node
      FROM rota.task_history h
     WHERE h.id BETWEEN (SELECT min(w.id) FROM wanted w) AND (SELECT max(w.id) FROM wanted w)
     GROUP BY h.id
)
SELECT /* bench */
       count(*) FILTER (WHERE f.id IS NULL), count(*) FILTER (WHERE f.times > 1),
       count(*) FILTER (WHERE f.times > f.good), count(*) FILTER (WHERE w.id IS NULL),
       (SELECT count(*) FROM rota.run), min(f.first_at), max(f.last_at),
       ARRAY(SELECT count(*) FROM found s GROUP BY s.node ORDER BY s.node)
  FROM wanted w FULL JOIN found f ON f.id = w.id
