-- Definitions of triggers with their jobs.
-- $1 triggers: their ids
-- on: work
SELECT t.id, t.revision, t.name, t.kind, t.cron, t.every_us, t.repeat_count, t.at, t.timezone, t.start_at, t.end_at,
       t.dst_gap, t.dst_overlap, t.data::text, t.misfire, t.misfire_tolerance_ms, t.misfire_threshold_ms, t.misfire_limit,
       t.job_id
  FROM rota.trigger t
 WHERE t.id = ANY ($1::integer[])
