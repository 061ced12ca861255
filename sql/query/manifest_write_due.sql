-- The hot half of triggers that are new or have a new schedule. Counts of an old one stay.
-- $1 triggers: their names
-- $2 handlers: of their jobs
-- $3 priorities: their own or their jobs'
-- $4 states: W, B, C
-- $5 next_at: NULL where there is none any more
-- $6 revision: of this apply
-- on: client
WITH given AS MATERIALIZED (
    SELECT * FROM unnest($1::text[], $2::text[], $3::integer[], $4::text[], $5::timestamptz[])
                  AS g(trigger, handler, priority, state, next_at)
), route AS MATERIALIZED (
    SELECT w.handler, w.priority, rota.route_of(w.handler, w.priority::smallint) AS id
      FROM (SELECT DISTINCT handler, priority FROM given) w
)
INSERT INTO rota.trigger_due (trigger_id, route, state, revision, next_at)
SELECT t.id, r.id, g.state::"char", $6::bigint, g.next_at
  FROM given g JOIN rota.trigger t ON t.name = g.trigger
       JOIN route r ON r.handler = g.handler AND r.priority = g.priority
ON CONFLICT (trigger_id) DO UPDATE
   SET route = excluded.route, state = excluded.state, revision = excluded.revision, next_at = excluded.next_at,
       error = NULL, error_at = NULL
