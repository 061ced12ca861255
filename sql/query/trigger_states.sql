-- One trigger in whatever state, or a page of all that are in error.
-- $1 name: NULL for all in error
-- $2 after: id to go on after (pages of 1000)
-- on: client
SELECT d.trigger_id, t.name,
       CASE d.state WHEN 'W' THEN 'waiting' WHEN 'B' THEN 'blocked' WHEN 'E' THEN 'in error' ELSE 'complete' END,
       clock_timestamp()
  FROM rota.trigger_due d JOIN rota.trigger t ON t.id = d.trigger_id
 WHERE CASE WHEN $1::text IS NULL THEN d.state = 'E' ELSE t.name = $1::text END AND d.trigger_id > $2::integer
 ORDER BY d.trigger_id LIMIT 1000
