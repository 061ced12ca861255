-- The names of tasks that have started, sorted, as a JSON array.
-- on: client
SELECT coalesce(json_agg(n.task ORDER BY n.place), '[]')::text
  FROM rota.task_names() WITH ORDINALITY AS n(task, place)
