-- Runs of the history once more: a row for each id, with the new run where there is one, and otherwise why
-- not: where it is, whether it was settled before, and by which run.
-- $1 runs: ids
-- $2 twice: those, too, that were run again or discarded before
-- on: client
SELECT u.id, r.new_run, rota.run_place(u.id), s.run_id IS NOT NULL, s.by_run
  FROM unnest($1::bigint[]) WITH ORDINALITY AS u(id, place)
       LEFT JOIN rota.rerun($1::bigint[], $2::boolean) r ON r.run_id = u.id
       LEFT JOIN rota.settled s ON s.run_id = u.id
 ORDER BY u.place
