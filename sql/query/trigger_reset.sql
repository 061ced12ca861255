-- Triggers back from error, in one statement: only those still in error under the same definition.
-- $1 triggers: their ids
-- $2 revisions: the definition each was evaluated under
-- $3 next_at: next occurrence, NULL if there is none any more
-- on: session work
UPDATE rota.trigger_due d
   SET state = (CASE WHEN n.next_at IS NULL THEN 'C' ELSE 'W' END)::"char", next_at = n.next_at, error = NULL, error_at = NULL
  FROM unnest($1::integer[], $2::bigint[], $3::timestamptz[]) AS n(trigger_id, revision, next_at)
 WHERE d.trigger_id = n.trigger_id AND d.state = 'E' AND d.revision = n.revision
