-- A page of failed runs that nobody has settled, oldest first; and the database's time.
-- $1 job: its name; NULL for all
-- $2 outcome: NULL for all but cancelled and expired
-- $3 since: of their end; NULL: after $4
-- $4 since_ms: milliseconds ago; 0 for the beginning
-- $5 until: of their end; NULL: now
-- $6 limit: rows at most
-- $7 beyond: with $3, the last row of the page before; NULL for the first
-- $8 runnable: only those whose job is there
-- on: client
SELECT d.id, d.task, d.outcome, d.ended_at, now()
  FROM rota.dead_runs($1::text, $2::text,
                      coalesce($3::timestamptz, CASE WHEN $4::bigint > 0 THEN now() - $4::bigint * interval '1 ms' END),
                      coalesce($5::timestamptz, now()), $6::bigint, $7::bigint, $8::boolean) d
