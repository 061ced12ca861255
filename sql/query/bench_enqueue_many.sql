-- Queues many runs of a job in one transaction, with a small payload each. Their ids.
-- $1 job: its name
-- $2 count: how many
-- on: client
SELECT /* bench */ rota.enqueue_many($1::text, ARRAY(SELECT jsonb_build_object('n', g.n) FROM generate_series(1, $2::integer) AS g(n)))
