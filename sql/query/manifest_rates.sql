-- What waits of jobs whose rate has changed waits for the rate of now.
-- $1 jobs: their names
-- on: client
SELECT rota.rates_changed($1::text[])
