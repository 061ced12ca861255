-- Takes back what busy_set has said, unless somebody has said it again since then.
-- $1 until: what busy_set returned
-- on: session
UPDATE rota.busy b SET busy_until = clock_timestamp()
 WHERE b.singleton = ANY (ARRAY(SELECT m.singleton FROM rota.busy m WHERE m.busy_until = $1::timestamptz FOR UPDATE SKIP LOCKED))
