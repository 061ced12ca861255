/*
 * `rota bench-worker PIPE`: the worker of `rota bench latency`, a real one that speaks the worker
 * protocol. Its handler does nothing but say when it was called.
 */
#include "base/clock.h"
#include "base/instant.h"
#include "cmd/bench_starts.h"
#include "cmd/cmd.h"
#include "worker/sdk/rota_worker.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SLOTS 16 /* as the built-in worker has: one would be full with the first run */

/* The time of a trigger's run; 0: no trigger made it. Texts are JSON, with their quotes. */
static int64_t scheduled_of(const rota_run *run)
{
    int64_t scheduled_us = 0;
    char *trigger = rota_run_member(run, "trigger");
    char *time = rota_run_member(run, "scheduled_time");
    if (trigger != NULL && time != NULL && strlen(time) > 2) {
        time[strlen(time) - 1] = '\0';
        if (instant_parse(time + 1, &scheduled_us) != 0)
            scheduled_us = 0;
    }
    free(trigger);
    free(time);
    return scheduled_us;
}

static int stamp(rota_run *run, void *arg)
{
    const int *pipe = arg;
    struct start start = {.at_us = clock_wall_us(), .id = rota_run_id(run)};
    start.scheduled_us = scheduled_of(run);
    return write(*pipe, &start, sizeof start) == (ssize_t)sizeof start ? 0 : -1;
}

int cmd_bench_worker(int argc, char **argv)
{
    if (argc != 2)
        return cmd_usage(STARTS_COMMAND, "`rota bench latency` starts it");
    int pipe = open(argv[1], O_WRONLY | O_CLOEXEC);
    if (pipe < 0) {
        fprintf(stderr, "rota " STARTS_COMMAND ": %s: %s\n", argv[1], strerror(errno));
        return ERROR_REFUSED;
    }
    rota_worker *worker = rota_worker_new(STARTS_COMMAND, ROTA_VERSION);
    rota_worker_handle(worker, STARTS_HANDLER, stamp, &pipe);
    rota_worker_slots(worker, SLOTS);
    int failed = rota_worker_serve(worker);
    if (failed != 0)
        fprintf(stderr, "rota " STARTS_COMMAND ": %s\n", rota_worker_error(worker));
    rota_worker_free(worker);
    close(pipe);
    return failed == 0 ? 0 : ERROR_REFUSED;
}
