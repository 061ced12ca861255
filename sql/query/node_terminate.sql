-- Ends what is left of a dead incarnation's connections, before its work is taken.
-- Behind a pooler of transactions ("… pooled") a backend is its only while it is at work: an idle one bears
-- the name of who had it last, and belongs to all.
-- $1 incarnation: the dead one
-- on: session
SELECT count(pg_terminate_backend(a.pid))
  FROM rota.incarnation i
  JOIN pg_stat_activity a
    ON a.application_name = ANY (i.backends)
       OR (a.application_name LIKE '% pooled' AND a.state NOT IN ('idle', 'disabled')
           AND left(a.application_name, -7) = ANY (i.backends))
 WHERE i.id = $1::integer AND a.usename = current_user
   AND a.backend_start < coalesce(i.evicted_at, 'infinity') -- later ones are of its next life
