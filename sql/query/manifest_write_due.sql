-- The hot half of triggers that are new or have a new schedule. Counts of an old one stay. New ones of
-- a job that is paused are paused.
-- $1 triggers: their names
-- $2 handlers: of their jobs
-- $3 priorities: their own or their jobs'
-- $4 states: W, C
-- $5 next_at: NULL where there is none any more
-- $6 previous_at: newest occurrence fired now under the old schedule, NULL to leave it
-- $7 fired: runs made now under the old schedule
-- $8 missed: occurrences passed over now
-- $9 misfired: runs made up for now
-- $10 revision: of this apply
-- $11 final_at: the last occurrence of all, NULL where no end is set
-- on: client
WITH given AS MATERIALIZED (
    SELECT * FROM unnest($1::text[], $2::text[], $3::integer[], $4::text[], $5::timestamptz[], $6::timestamptz[],
                         $7::bigint[], $8::bigint[], $9::bigint[], $11::timestamptz[])
                  AS g(trigger, handler, priority, state, next_at, previous_at, fired, missed, misfired, final_at)
), route AS MATERIALIZED (
    SELECT w.handler, w.priority, rota.route_of(w.handler, w.priority::smallint) AS id
      FROM (SELECT DISTINCT handler, priority FROM given) w
)
INSERT INTO rota.trigger_due AS d (trigger_id, route, state, revision, next_at, previous_at, fired, missed, misfired,
                                   paused, paused_at, final_at)
SELECT t.id, r.id, g.state::"char", $10::bigint, g.next_at, g.previous_at, g.fired, g.missed, g.misfired,
       t.paused OR j.held, CASE WHEN t.paused OR j.held THEN now() END, g.final_at
  FROM given g JOIN rota.trigger t ON t.name = g.trigger JOIN rota.job j ON j.id = t.job_id
       JOIN route r ON r.handler = g.handler AND r.priority = g.priority
ON CONFLICT (trigger_id) DO UPDATE
   SET route = CASE WHEN d.lane IS NULL THEN excluded.route ELSE -excluded.route END, state = excluded.state,
       revision = excluded.revision, next_at = excluded.next_at, final_at = excluded.final_at,
       previous_at = coalesce(excluded.previous_at, d.previous_at), fired = d.fired + excluded.fired,
       missed = d.missed + excluded.missed, misfired = d.misfired + excluded.misfired, error = NULL, error_at = NULL,
       pass_from = CASE WHEN excluded.next_at < d.pass_until THEN d.pass_from END, -- of use while it stays due
       pass_until = CASE WHEN excluded.next_at < d.pass_until THEN d.pass_until END
