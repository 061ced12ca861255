-- Runs of the history are not asked for again: a row for each id, with where it is and whether it was
-- settled before; and how many were not.
-- $1 runs: ids
-- on: client
WITH done AS MATERIALIZED (
    SELECT u.id, rota.run_place(u.id) AS run_place, s.run_id IS NOT NULL AS settled, s.by_run, u.place
      FROM unnest($1::bigint[]) WITH ORDINALITY AS u(id, place) LEFT JOIN rota.settled s ON s.run_id = u.id
)
SELECT d.id, NULL::bigint, d.run_place, d.settled, d.by_run, x.discarded
  FROM done d CROSS JOIN (SELECT rota.discard($1::bigint[]) AS discarded) x
 ORDER BY d.place
