-- Whether a job has this name, or the history has runs of one that had it.
-- $1 job: its name
-- on: client
SELECT EXISTS (SELECT FROM rota.job j WHERE j.name = $1::text)
       OR EXISTS (SELECT FROM rota.task_history h WHERE h.task = $1::text)
