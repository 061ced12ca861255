-- A token by the part of it that is no secret, and whether there are any tokens at all: one row always.
-- $1 key: the part; '' finds none
-- on: client
SELECT EXISTS (SELECT FROM rota.token a WHERE a.revoked_at IS NULL) AS any_token, t.id, t.name, t.hash, t.scope,
       t.revoked_at IS NULL AND coalesce(t.expires_at > now(), true) AS valid,
       coalesce(t.used_at < now() - interval '1 hour', true) AS unused
  FROM (VALUES ($1::text)) AS w(key) LEFT JOIN rota.token t ON t.key = w.key
