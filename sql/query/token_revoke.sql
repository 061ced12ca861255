-- Ends tokens, by name or by the part of one that is no secret: one row, how many there were.
-- $1 name: or the key
-- on: client
WITH gone AS (
    UPDATE rota.token t SET revoked_at = now()
     WHERE (t.name = $1::text OR t.key = $1::text) AND t.revoked_at IS NULL
    RETURNING t.name, t.key, t.scope
), noted AS (
    INSERT INTO rota.audit (who, action, noun, name, before)
    SELECT session_user, 'revoke', 'token', gone.name, json_build_object('key', gone.key, 'scope', gone.scope) FROM gone
)
SELECT count(*) FROM gone
