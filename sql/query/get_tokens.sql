-- Tokens as a JSON document; nothing in it is a secret.
-- $1 name: of them, NULL for all
-- on: client
SELECT json_build_object('total', count(*), 'data', coalesce(json_agg(r), '[]'))::text
  FROM (SELECT t.name, t.key, t.scope,
               CASE WHEN t.revoked_at IS NOT NULL THEN 'revoked' WHEN t.expires_at <= now() THEN 'expired' ELSE 'valid' END AS state,
               t.created_at, t.created_by, t.expires_at, t.revoked_at, t.used_at
          FROM rota.token t WHERE $1::text IS NULL OR t.name = $1::text
         ORDER BY t.name, t.created_at, t.id LIMIT 10000) r
