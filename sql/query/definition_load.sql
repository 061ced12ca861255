-- Definitions of triggers, in the order of their ids. The first of those that use a calendar brings the
-- names and definitions of its stack along, its own first, and one more than may stand on each other.
-- $1 triggers: their ids
-- on: work
WITH RECURSIVE wanted AS MATERIALIZED (
    SELECT t.id, t.revision, t.name, t.kind, t.cron, t.every_us, t.repeat_count, t.at, t.timezone, t.start_at, t.end_at,
           t.dst_gap, t.dst_overlap, t.data::text AS data, t.misfire, t.misfire_tolerance_ms, t.misfire_threshold_ms,
           t.misfire_limit, t.job_id, t.calendar_interval, t.daily_from, t.daily_to, t.daily_every_us,
           array_to_string(t.daily_days, ',', '?') AS daily_days, t.calendar
      FROM rota.trigger t
     WHERE t.id = ANY ($1::integer[])
), first AS (
    SELECT w.calendar, min(w.id) AS id FROM wanted w WHERE w.calendar IS NOT NULL GROUP BY w.calendar
), stack AS (
    SELECT f.id, 1 AS depth, c.name, c.base, c.definition FROM first f JOIN rota.calendar c ON c.name = f.calendar
    UNION ALL
    SELECT s.id, s.depth + 1, c.name, c.base, c.definition
      FROM stack s JOIN rota.calendar c ON c.name = s.base
     WHERE s.depth <= 8
), calendar AS (
    SELECT s.id, array_agg(s.name ORDER BY s.depth) AS names, array_agg(s.definition ORDER BY s.depth) AS definitions
      FROM stack s GROUP BY s.id
)
SELECT w.id, w.revision, w.name, w.kind, w.cron, w.every_us, w.repeat_count, w.at, w.timezone, w.start_at, w.end_at,
       w.dst_gap, w.dst_overlap, w.data, w.misfire, w.misfire_tolerance_ms, w.misfire_threshold_ms, w.misfire_limit,
       w.job_id, w.calendar_interval, w.daily_from, w.daily_to, w.daily_every_us, w.daily_days, w.calendar, c.names,
       c.definitions
  FROM wanted w LEFT JOIN calendar c ON c.id = w.id
 ORDER BY w.id
