-- Wake-ups: something was enqueued, put back or declared. Prepared at first use: where it is refused, all else goes on.
-- on: client
LISTEN "rota.wake"
