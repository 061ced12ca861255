-- A new token. No row: there is one of this name already, and it is no rotation.
-- $1 name: of whoever uses it
-- $2 key: the part of it that is no secret
-- $3 hash: SHA-256 of the whole
-- $4 scope: monitor, operate or admin
-- $5 expires_ms: milliseconds from now; NULL: never
-- $6 rotate: earlier ones of this name go on for $7 only
-- $7 overlap_ms: milliseconds
-- on: client
WITH earlier AS (
    SELECT t.id FROM rota.token t
     WHERE t.name = $1::text AND t.revoked_at IS NULL AND coalesce(t.expires_at > now(), true)
       FOR UPDATE
), shortened AS (
    UPDATE rota.token t SET expires_at = least(t.expires_at, now() + $7::bigint * interval '1 ms')
      FROM earlier e WHERE t.id = e.id AND $6::boolean
), made AS (
    INSERT INTO rota.token (name, key, hash, scope, expires_at)
    SELECT $1::text, $2::text, $3::bytea, $4::text, now() + $5::bigint * interval '1 ms'
     WHERE $6::boolean OR NOT EXISTS (SELECT FROM earlier)
    RETURNING id, expires_at, scope
), noted AS (
    INSERT INTO rota.audit (who, action, noun, name, after)
    SELECT session_user, CASE WHEN $6::boolean THEN 'rotate' ELSE 'create' END, 'token', $1::text,
           json_build_object('key', $2::text, 'scope', made.scope, 'expires_at', made.expires_at)
      FROM made
)
SELECT made.id, made.expires_at, (SELECT count(*) FROM earlier) FROM made
