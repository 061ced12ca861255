-- Runs a second of each burst of firings that fell due at one instant: from the first handed to a worker to
-- the last in the history. A row each, in their order.
-- on: client
SELECT /* bench */ count(*)::float8 / greatest(extract(epoch FROM max(h.ended_at) - min(h.started_at)), 0.000001)::float8
  FROM rota.task_history h WHERE h.trigger IS NOT NULL
 GROUP BY h.scheduled_at ORDER BY h.scheduled_at
