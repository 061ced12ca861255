-- Whether each of these runs has exactly one row of success in the history, and when the first began and the
-- last ended, by the database's clock. How many have none, several, another end; how many other runs began
-- since the first of them did, of ids as theirs; how many runs are not over; how many each node has ended.
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
), compared AS MATERIALIZED (
    SELECT w.id AS wanted, f.* FROM wanted w FULL JOIN found f ON f.id = w.id
)
SELECT /* bench */
       count(*) FILTER (WHERE c.id IS NULL), count(*) FILTER (WHERE c.wanted IS NOT NULL AND c.times > 1),
       count(*) FILTER (WHERE c.wanted IS NOT NULL AND c.times > c.good),
       count(*) FILTER (WHERE c.wanted IS NULL AND c.first_at >= (SELECT min(o.first_at) FROM compared o WHERE o.wanted IS NOT NULL)),
       (SELECT count(*) FROM rota.run), min(c.first_at) FILTER (WHERE c.wanted IS NOT NULL),
       max(c.last_at) FILTER (WHERE c.wanted IS NOT NULL),
       ARRAY(SELECT count(*) FROM compared s WHERE s.wanted IS NOT NULL GROUP BY s.node ORDER BY s.node)
  FROM compared c
