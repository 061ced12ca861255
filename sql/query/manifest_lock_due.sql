-- Keeps triggers that are about to change from firing until the end of the transaction, and tells
-- where they stand and what time it is: what is fired later, is fired by the new definition.
-- $1 triggers: their ids
-- on: client
WITH locked AS MATERIALIZED (
    SELECT d.trigger_id, d.state, d.next_at, d.previous_at, d.paused, d.pass_from, d.pass_until
      FROM rota.trigger_due d
     WHERE d.trigger_id = ANY ($1::integer[])
     ORDER BY d.trigger_id
       FOR UPDATE
)
SELECT l.trigger_id, l.state, l.next_at, l.previous_at, l.paused, clock_timestamp(), l.pass_from, l.pass_until
  FROM locked l
