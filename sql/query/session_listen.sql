-- Wake-ups: something was enqueued, put back or declared.
-- on: session
LISTEN "rota.wake"
