-- New and changed calendars.
-- $1 names: of the calendars
-- $2 sources: who declares each
-- $3 bases: names of those they stand on, NULL for none
-- $4 definitions: canonical texts
-- $5 revision: of this apply
-- on: client
INSERT INTO rota.calendar AS c (name, source, base, definition, revision)
SELECT g.name, g.source, g.base, g.definition, $5::bigint
  FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) AS g(name, source, base, definition)
ON CONFLICT (name) DO UPDATE
   SET base = excluded.base, definition = excluded.definition, revision = excluded.revision, changed_at = now()
