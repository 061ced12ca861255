-- The names of tasks that have started, sorted, as a JSON array. The history is read by leaps over an index
-- where it has one; here from name to name.
-- on: client
SELECT coalesce(json_agg(n.task ORDER BY n.task COLLATE "C"), '[]')::text
  FROM (SELECT DISTINCT t.task FROM rota.task t) n
