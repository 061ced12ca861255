/*
 * Waits for the end of a run that was queued: `rota enqueue --wait`. What its worker says of it
 * goes to stderr meanwhile, what it leaves behind to stdout. The run does not depend on who waits.
 */
#ifndef CMD_RUN_WAIT_H
#define CMD_RUN_WAIT_H

#include "cmd/client.h"

/* --wait, --wait D, --wait=D. */
struct run_wait_option {
    bool wanted;
    int64_t us; /* 0: for ever */
};

/* As cmd_option(); the word after --wait is its duration if it begins with a digit. */
int run_wait_option(int argc, char **argv, int *i, struct run_wait_option *option,
                    struct rota_error *error);

/*
 * To be called before the run is queued, so that its end cannot pass unnoticed; behind a pooler
 * nothing may be heard, and the wait looks by itself. 0 or -1.
 */
int run_wait_listen(struct client *client, struct rota_error *error);

/*
 * Until the run is over, for wait_us at most (0: for ever). 0: it succeeded. -1 with ERROR_REFUSED:
 * it did not; ERROR_TIMEOUT: it goes on; ERROR_INTERRUPTED: Ctrl-C, it goes on. With json only its
 * row of the history is printed.
 */
int run_wait(struct client *client, int64_t run, int64_t wait_us, bool json,
             struct rota_error *error);

#endif
