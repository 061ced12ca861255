-- Triggers in error whose handler this node serves, for it to try again. Not those that a failed run has
-- put there, as their jobs asked for: that is over when somebody says so.
-- $1 handlers: what its workers serve
-- $2 after: id to go on after (pages of 1000)
-- on: session
SELECT d.trigger_id
  FROM rota.trigger_due d JOIN rota.route r ON r.id = abs(d.route)
 WHERE d.state = 'E' AND d.error_run IS NULL AND r.handler = ANY ($1::text[]) AND d.trigger_id > $2::integer
 ORDER BY d.trigger_id LIMIT 1000
