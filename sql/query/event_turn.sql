-- Forgets the oldest events when there are too many. Returns whether it did.
-- $1 keep_bytes: what the log may have
-- on: session
SELECT rota.event_turn($1::bigint)
