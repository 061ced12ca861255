-- Ends runs: what became of each of them.
-- $1 runs: ids, each once
-- $2 reason: for the history and their workers
-- on: client
SELECT u.id, c.answer
  FROM unnest($1::bigint[]) WITH ORDINALITY AS u(id, place)
       JOIN rota.cancel_many($1::bigint[], $2::text) c ON c.run_id = u.id
 ORDER BY u.place
