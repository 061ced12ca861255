-- What waits of jobs whose limit or whose triggers have changed moves to its lane of now.
-- $1 jobs: their names
-- on: client
SELECT rota.lanes_changed($1::text[])
