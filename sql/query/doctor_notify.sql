-- Tells it to whoever listens.
-- $1 word: which call of the doctor
-- on: client
SELECT pg_notify('rota.doctor', $1::text)
