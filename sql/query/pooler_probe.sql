-- Which backend answers: a pooler tells its clients of another one.
-- on: client
SELECT pg_backend_pid()
