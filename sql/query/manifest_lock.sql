-- Opens the transaction of an apply: one at a time in this schema, never waiting inside the server;
-- a claim or an enqueue that holds a row of ours for longer than 10 s makes it fail, not hang.
-- on: client
SELECT pg_try_advisory_xact_lock(hashtextextended('rota.apply', 0)), clock_timestamp(),
       set_config('lock_timeout', '10s', true), set_config('idle_in_transaction_session_timeout', '30s', true)
