-- Acts on all requests to cancel once more. Returns how many runs it ended where they wait.
-- on: session
SELECT rota.cancel_sweep()
