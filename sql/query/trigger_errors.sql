-- Triggers in error whose handler this node serves, for it to try again. Not those of jobs that put
-- their trigger there when a run has failed for good: that is over when somebody says so.
-- $1 handlers: what its workers serve
-- $2 after: id to go on after (pages of 1000)
-- on: session
SELECT d.trigger_id
  FROM rota.trigger_due d JOIN rota.route r ON r.id = abs(d.route)
       JOIN rota.trigger t ON t.id = d.trigger_id JOIN rota.job j ON j.id = t.job_id AND j.on_exhausted = 'fail'
 WHERE d.state = 'E' AND r.handler = ANY ($1::text[]) AND d.trigger_id > $2::integer
 ORDER BY d.trigger_id LIMIT 1000
