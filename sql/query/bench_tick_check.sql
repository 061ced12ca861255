-- Whether each trigger has fired each of its occurrences once: how many fired more or fewer, one of them
-- twice, with a gap; occurrences passed over; rows that are no success; runs that are not over; all rows.
-- $1 job: triggers of jobs whose names begin so
-- $2 occurrences: of each trigger
-- $3 period_us: between two of them
-- on: client
WITH fired AS MATERIALIZED (
    SELECT h.trigger, count(*) AS times, count(DISTINCT h.scheduled_at) AS apart, max(h.scheduled_at) - min(h.scheduled_at) AS span,
           sum(h.missed) AS missed, count(*) FILTER (WHERE h.status <> 'success') AS bad
      FROM rota.task_history h
     WHERE h.trigger IS NOT NULL AND starts_with(h.task, $1::text)
     GROUP BY h.trigger
)
SELECT /* bench */
       count(*) FILTER (WHERE coalesce(f.times, 0) <> $2::bigint),
       count(*) FILTER (WHERE f.times <> f.apart),
       count(*) FILTER (WHERE f.span <> ($2::bigint - 1) * $3::bigint * interval '1 us'),
       coalesce(sum(f.missed), 0)::bigint,
       coalesce(sum(f.bad), 0)::bigint,
       (SELECT count(*) FROM rota.run),
       coalesce(sum(f.times), 0)::bigint
  FROM rota.trigger t JOIN rota.job j ON j.id = t.job_id AND starts_with(j.name, $1::text)
  LEFT JOIN fired f ON f.trigger = t.name
