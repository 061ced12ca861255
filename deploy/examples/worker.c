/*
 * A worker in C: counts primes up to data.limit, a portion at a time, with progress, and goes on
 * from its checkpoint when it is run again. Where the data have a `lock`, only one in the whole
 * fleet counts under that name.
 *
 *     cc -o primes deploy/examples/worker.c $(pkg-config --cflags --libs --static rota_worker)
 *     rota node --pools '{"primes":{"command":["./primes"]}}'
 */
#include <rota_worker.h>

#include <stdio.h>
#include <stdlib.h>

#define PORTION 1000

static bool is_prime(int64_t number)
{
    for (int64_t divisor = 2; divisor * divisor <= number; divisor++)
        if (number % divisor == 0)
            return false;
    return number > 1;
}

/* Counts from `at` on; -1 when it was told to stop. */
static int64_t count(rota_run *run, int64_t at, int64_t found, int64_t limit)
{
    char checkpoint[100];
    for (; at <= limit; at++) {
        found += is_prime(at);
        if (at % PORTION != 0)
            continue;
        if (rota_run_cancelled(run))
            return -1;
        snprintf(checkpoint, sizeof checkpoint, "{\"next\":%lld,\"found\":%lld}", (long long)at + 1,
                 (long long)found);
        rota_run_checkpoint_set(run, checkpoint);
        rota_run_progress(run, (double)at / (double)limit, NULL);
    }
    return found;
}

static int primes(rota_run *run, void *arg)
{
    int64_t limit, next = 2, found = 0;
    char lock[255], details[60];
    (void)arg;
    if (rota_json_int(rota_run_data(run), "limit", &limit) != 0 || limit < 2)
        return rota_run_fail(run, "BadData", "data.limit must be a number from 2 on", false);
    if (rota_json_string(rota_run_data(run), "lock", lock, sizeof lock) == 0 &&
        rota_run_lock(run, lock, "30s", false, NULL) < 0)
        return rota_run_fail(run, "LockNotFree", lock, true);
    rota_json_int(rota_run_checkpoint(run), "next", &next);
    rota_json_int(rota_run_checkpoint(run), "found", &found);
    rota_run_log(run, "info", "counting from %lld to %lld", (long long)next, (long long)limit);
    found = count(run, next, found, limit);
    if (found < 0)
        return rota_run_fail(run, "Cancelled", "stopped as it was told to", true);
    snprintf(details, sizeof details, "{\"primes\":%lld}", (long long)found);
    return rota_run_done(run, details, NULL);
}

int main(void)
{
    rota_worker *worker = rota_worker_new("primes", "1.0");
    rota_worker_honour_lease(worker);
    rota_worker_handle(worker, "primes", primes, NULL);
    int failed = rota_worker_serve(worker);
    if (failed != 0)
        fprintf(stderr, "primes: %s\n", rota_worker_error(worker));
    rota_worker_free(worker);
    return failed == 0 ? 0 : 1;
}
