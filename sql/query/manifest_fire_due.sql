-- Runs of what was due under an old schedule when a new one took its place. Made-up ones are paced for
-- the whole fleet, as in trigger_fire.
-- $1 triggers: name of the trigger of each run
-- $2 scheduled_at: its occurrence
-- $3 missed: occurrences it stands for besides
-- $4 made_up: whether the misfire policy made it up
-- $5 pace_us: microseconds between made-up runs
-- on: client
WITH wanted AS MATERIALIZED (
    SELECT w.*, CASE WHEN w.made_up THEN count(*) FILTER (WHERE w.made_up) OVER (ORDER BY w.place) END AS turn
      FROM unnest($1::text[], $2::timestamptz[], $3::integer[], $4::boolean[])
           WITH ORDINALITY AS w(trigger, scheduled_at, missed, made_up, place)
), pace AS (
    UPDATE rota.fleet f
       SET paced_until = greatest(f.paced_until, now()) + m.made_up * $5::bigint * interval '1 us'
      FROM (SELECT count(*) AS made_up FROM wanted w WHERE w.made_up) m
     WHERE m.made_up > 0
    RETURNING f.paced_until - m.made_up * $5::bigint * interval '1 us' AS since
), run AS (
    SELECT d.route, CASE WHEN w.made_up THEN p.since + (w.turn - 1) * $5::bigint * interval '1 us' ELSE w.scheduled_at END AS due,
           t.job_id, t.id AS trigger_id, w.scheduled_at, w.missed, d.lane, w.made_up, rota.run_bucket(t.job_id, t.id, NULL) AS bucket
      FROM wanted w JOIN rota.trigger t ON t.name = w.trigger JOIN rota.trigger_due d ON d.trigger_id = t.id
           LEFT JOIN pace p ON true
), made AS (
    INSERT INTO rota.pending (route, due, job_id, trigger_id, scheduled_at, missed, lane, made_up, bucket, held, held_due)
    SELECT r.route, CASE WHEN r.bucket IS NULL THEN r.due ELSE 'infinity' END, r.job_id, r.trigger_id, r.scheduled_at,
           r.missed, r.lane, r.made_up, r.bucket, CASE WHEN r.bucket IS NOT NULL THEN 'R'::"char" END,
           CASE WHEN r.bucket IS NOT NULL THEN r.due END
      FROM run r
    RETURNING bucket, job_id, held_due
)
SELECT rota.rate_tell(array_agg(m.bucket), array_agg(m.job_id), array_agg(m.held_due)) FROM made m
 WHERE m.bucket IS NOT NULL HAVING count(*) > 0
