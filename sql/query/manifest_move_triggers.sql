-- Triggers that follow a calendar which has changed; the nodes read them again.
-- $1 triggers: their ids
-- $2 states: W, C; E where it stays in error; B tries its lane again, which may have been freed meanwhile
-- $3 next_at: NULL where there is none any more
-- $4 previous_at: newest occurrence fired now under the old calendar, NULL to leave it
-- $5 fired: runs made now under the old calendar
-- $6 missed: occurrences passed over now
-- $7 misfired: runs made up for now
-- $8 revision: of this apply
-- $9 final_at: the last occurrence of all, NULL where no end is set
-- on: client
WITH given AS MATERIALIZED (
    SELECT * FROM unnest($1::integer[], $2::text[], $3::timestamptz[], $4::timestamptz[], $5::bigint[], $6::bigint[],
                         $7::bigint[], $9::timestamptz[])
                  AS g(trigger_id, state, next_at, previous_at, fired, missed, misfired, final_at)
), definition AS (
    UPDATE rota.trigger t SET revision = $8::bigint FROM given g WHERE t.id = g.trigger_id
)
UPDATE rota.trigger_due d
   SET state = (CASE g.state WHEN 'B' THEN 'W' ELSE g.state END)::"char", revision = $8::bigint, next_at = g.next_at,
       final_at = g.final_at,
       previous_at = coalesce(g.previous_at, d.previous_at), fired = d.fired + g.fired, missed = d.missed + g.missed,
       misfired = d.misfired + g.misfired, error = CASE WHEN g.state = 'E' THEN d.error END,
       error_at = CASE WHEN g.state = 'E' THEN d.error_at END,
       pass_from = CASE WHEN g.next_at < d.pass_until THEN d.pass_from END, -- of use while it stays due
       pass_until = CASE WHEN g.next_at < d.pass_until THEN d.pass_until END
  FROM given g
 WHERE d.trigger_id = g.trigger_id
