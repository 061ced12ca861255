-- New and changed triggers, without their hot half.
-- $1 names: of the triggers
-- $2 jobs: names of their jobs
-- $3 descriptions: may be NULL
-- $4 kinds: cron, every, at, calendar_interval, daily
-- $5 crons: expressions, NULL for the other kinds
-- $6 periods: of every, in microseconds
-- $7 repeats: NULL for no end
-- $8 ats: of at
-- $9 timezones: names
-- $10 starts: first instant, and phase of every and calendar_interval
-- $11 ends: last instant, or NULL
-- $12 gaps: after, skip
-- $13 overlaps: first, second, both
-- $14 priorities: NULL for the job's
-- $15 data: NULL for none
-- $16 misfires: fire_once, skip, fire_all
-- $17 tolerances: in ms
-- $18 thresholds: in ms, NULL for the node's
-- $19 limits: of fire_all
-- $20 definitions: canonical texts
-- $21 revision: of this apply
-- $22 calendar_intervals: of calendar_interval
-- $23 daily_from: of daily, NULL for 00:00
-- $24 daily_to: of daily, NULL for 24:00
-- $25 daily_periods: of daily, in microseconds
-- $26 daily_days: of daily, such as MON,FRI; NULL for every day
-- $27 calendars: names, NULL for none
-- on: client
INSERT INTO rota.trigger AS t (job_id, name, description, kind, cron, every_us, repeat_count, at, timezone, start_at,
                               end_at, dst_gap, dst_overlap, priority, data, misfire, misfire_tolerance_ms,
                               misfire_threshold_ms, misfire_limit, definition, revision, calendar_interval,
                               daily_from, daily_to, daily_every_us, daily_days, calendar)
SELECT j.id, g.name, g.description, g.kind, g.cron, g.every_us, g.repeat_count, g.at, g.timezone, g.start_at, g.end_at,
       g.dst_gap, g.dst_overlap, g.priority, g.data, g.misfire, g.misfire_tolerance_ms, g.misfire_threshold_ms,
       g.misfire_limit, g.definition, $21::bigint, g.calendar_interval, g.daily_from, g.daily_to, g.daily_every_us,
       string_to_array(g.daily_days, ','), g.calendar
  FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::bigint[], $8::timestamptz[],
              $9::text[], $10::timestamptz[], $11::timestamptz[], $12::text[], $13::text[], $14::integer[], $15::json[],
              $16::text[], $17::bigint[], $18::bigint[], $19::integer[], $20::text[], $22::text[], $23::text[], $24::text[], $25::bigint[],
              $26::text[], $27::text[])
       AS g(name, job, description, kind, cron, every_us, repeat_count, at, timezone, start_at, end_at, dst_gap,
            dst_overlap, priority, data, misfire, misfire_tolerance_ms, misfire_threshold_ms, misfire_limit, definition,
            calendar_interval, daily_from, daily_to, daily_every_us, daily_days, calendar)
  JOIN rota.job j ON j.name = g.job
ON CONFLICT (name) DO UPDATE
   SET job_id = excluded.job_id, description = excluded.description, kind = excluded.kind, cron = excluded.cron,
       every_us = excluded.every_us, repeat_count = excluded.repeat_count, at = excluded.at,
       timezone = excluded.timezone, start_at = excluded.start_at, end_at = excluded.end_at,
       dst_gap = excluded.dst_gap, dst_overlap = excluded.dst_overlap, priority = excluded.priority,
       data = excluded.data, misfire = excluded.misfire, misfire_tolerance_ms = excluded.misfire_tolerance_ms,
       misfire_threshold_ms = excluded.misfire_threshold_ms, misfire_limit = excluded.misfire_limit,
       definition = excluded.definition, revision = excluded.revision,
       calendar_interval = excluded.calendar_interval, daily_from = excluded.daily_from, daily_to = excluded.daily_to,
       daily_every_us = excluded.daily_every_us, daily_days = excluded.daily_days, calendar = excluded.calendar
