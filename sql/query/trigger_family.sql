-- The job of a trigger with all its triggers, as they are declared, and how the trigger stands.
-- $1 name: of the trigger
-- on: client
SELECT f.definition_revision, j.name, j.source, j.definition, m.names, m.definitions, d.paused, d.next_at
  FROM rota.trigger t JOIN rota.job j ON j.id = t.job_id JOIN rota.trigger_due d ON d.trigger_id = t.id
       CROSS JOIN rota.fleet f
       CROSS JOIN LATERAL (SELECT array_agg(s.name ORDER BY s.id) AS names, array_agg(s.definition ORDER BY s.id) AS definitions
                             FROM rota.trigger s WHERE s.job_id = j.id) m
 WHERE t.name = $1::text
