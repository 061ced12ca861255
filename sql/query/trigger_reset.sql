-- Triggers back from error, in one statement: only those still in error under the same definition. An
-- occurrence that was due when they went there stays due and meets the misfire policy.
-- $1 triggers: their ids
-- $2 revisions: the definition each was evaluated under
-- $3 next_at: next occurrence, NULL if there is none any more
-- $4 revision: a new one, so that nodes that know them as broken read them again; NULL to leave it
-- on: session work client
WITH back AS (
    UPDATE rota.trigger_due d
       SET state = (CASE WHEN coalesce(d.next_at, n.next_at) IS NULL THEN 'C' ELSE 'W' END)::"char",
           next_at = coalesce(d.next_at, n.next_at), error = NULL, error_at = NULL, revision = coalesce($4::bigint, d.revision)
      FROM unnest($1::integer[], $2::bigint[], $3::timestamptz[]) AS n(trigger_id, revision, next_at)
     WHERE d.trigger_id = n.trigger_id AND d.state = 'E' AND d.revision = n.revision
    RETURNING d.trigger_id, d.next_at
), again AS (
    UPDATE rota.trigger t SET revision = $4::bigint FROM back WHERE t.id = back.trigger_id AND $4::bigint IS NOT NULL
)
SELECT back.trigger_id, back.next_at FROM back
