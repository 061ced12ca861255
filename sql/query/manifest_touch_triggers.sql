-- Triggers that keep their schedule but must be read again by the nodes: something of theirs or of
-- their job's has changed. Their next firing stays. Blocked ones try their lanes again: whoever freed one
-- meanwhile did not wait for them.
-- $1 triggers: their names
-- $2 handlers: of their jobs
-- $3 priorities: their own or their jobs'
-- $4 revision: of this apply
-- on: client
WITH given AS MATERIALIZED (
    SELECT * FROM unnest($1::text[], $2::text[], $3::integer[]) AS g(trigger, handler, priority)
), route AS MATERIALIZED (
    SELECT w.handler, w.priority, rota.route_of(w.handler, w.priority::smallint) AS id
      FROM (SELECT DISTINCT handler, priority FROM given) w
), touched AS MATERIALIZED (
    SELECT t.id, r.id AS route
      FROM given g JOIN rota.trigger t ON t.name = g.trigger
           JOIN route r ON r.handler = g.handler AND r.priority = g.priority
), definition AS (
    UPDATE rota.trigger t SET revision = $4::bigint FROM touched WHERE t.id = touched.id AND t.revision <> $4::bigint
)
UPDATE rota.trigger_due d
   SET route = CASE WHEN d.lane IS NULL THEN touched.route ELSE -touched.route END, revision = $4::bigint,
       state = CASE d.state WHEN 'B' THEN 'W' ELSE d.state END
  FROM touched WHERE d.trigger_id = touched.id
