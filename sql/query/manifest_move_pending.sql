-- Waiting runs follow a job to its new handler and priority. A run that was given a priority of its
-- own keeps it. To be run while job and trigger still have their old definitions.
-- $1 jobs: ids of those whose handler or priority, or the priority of one of whose triggers, changes
-- $2 old_priorities: of each job
-- $3 handlers: its new handler
-- $4 priorities: its new priority
-- $5 triggers: all triggers of these jobs, ids
-- $6 trigger_old_priorities: of each trigger or its job
-- $7 trigger_priorities: the new ones
-- on: client
WITH job AS MATERIALIZED (
    SELECT * FROM unnest($1::integer[], $2::integer[], $3::text[], $4::integer[]) AS j(id, old, handler, priority)
), trigger AS MATERIALIZED (
    SELECT * FROM unnest($5::integer[], $6::integer[], $7::integer[]) AS t(id, old, priority)
), run AS MATERIALIZED (
    SELECT p.id, j.handler,
           CASE WHEN r.priority = coalesce(t.old, j.old) THEN coalesce(t.priority, j.priority) ELSE r.priority END AS priority
      FROM rota.pending p JOIN job j ON j.id = p.job_id JOIN rota.route r ON r.id = abs(p.route)
           LEFT JOIN trigger t ON t.id = p.trigger_id
), route AS MATERIALIZED (
    SELECT w.handler, w.priority, rota.route_of(w.handler, w.priority::smallint) AS id
      FROM (SELECT DISTINCT handler, priority FROM run) w
)
UPDATE rota.pending p
   SET route = CASE WHEN p.lane IS NULL THEN route.id ELSE -route.id END
  FROM run JOIN route ON route.handler = run.handler AND route.priority = run.priority
 WHERE p.id = run.id AND abs(p.route) <> route.id
