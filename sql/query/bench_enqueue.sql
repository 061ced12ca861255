-- Queues one run of a job, as an application does. Its id.
-- $1 job: its name
-- on: client
SELECT /* bench */ rota.enqueue($1::text, '{"n": 1}'::jsonb)
