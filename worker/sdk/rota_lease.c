/*
 * The promise to stop when the lease of the node ends. A lease is counted from the moment at which
 * it was asked for: then it does not matter how long the answer waited in a buffer, or this process
 * in the sleep of its machine. The end itself is a timer of the kernel that sends SIGKILL.
 */
#include "worker/sdk/rota_worker_int.h"

#include <string.h>

#define NS_PER_MS     INT64_C(1000000)
#define NS_PER_SECOND INT64_C(1000000000)
#define ANSWER_MS     5000 /* for the node to answer a question */

static int64_t boot_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_BOOTTIME, &now);
    return now.tv_sec * NS_PER_SECOND + now.tv_nsec;
}

void rota_lease_ask(rota_worker *worker)
{
    struct rota_lease *lease = &worker->lease;
    struct rota_text line = {0};
    lease->ref = ++worker->last_ref;
    lease->asked_ns = boot_ns();
    rota_text_add(&line, "{\"type\":\"lease\",\"ref\":");
    rota_text_int(&line, lease->ref);
    rota_text_add(&line, "}\n");
    rota_link_send(&worker->link, &line);
    rota_text_free(&line);
}

/* What comes unasked only says that it is time to ask. */
void rota_lease_told(rota_worker *worker, const char *line)
{
    struct rota_lease *lease = &worker->lease;
    int64_t ref = 0, valid_ms = 0;
    rota_json_int(line, "ref", &ref);
    if (ref == 0 && lease->honoured) {
        rota_lease_ask(worker);
    } else if (ref != 0 && ref == lease->ref && rota_json_int(line, "valid_ms", &valid_ms) == 0) {
        lease->until_ns = lease->asked_ns + valid_ms * NS_PER_MS;
        lease->ref = 0;
        rota_lease_guard(worker);
    }
}

bool rota_lease_holds(rota_worker *worker)
{
    struct rota_lease *lease = &worker->lease;
    if (!lease->honoured || boot_ns() < lease->until_ns)
        return true;
    int64_t end_ns = boot_ns() + ANSWER_MS * NS_PER_MS;
    rota_lease_ask(worker);
    while (lease->ref != 0 && worker->link.in >= 0 && boot_ns() < end_ns)
        rota_worker_hear(worker, 100);
    return boot_ns() < lease->until_ns;
}

static bool is_busy(const rota_worker *worker)
{
    for (const rota_run *run = worker->runs; run != NULL; run = run->next)
        if (run->taken && !run->answered)
            return true;
    return false;
}

/* Their lease was the lost connection's: none that comes after it is theirs. */
static bool has_lost_runs(const rota_worker *worker)
{
    for (const rota_run *run = worker->runs; run != NULL; run = run->next)
        if (run->lost && run->taken && !run->answered)
            return true;
    return false;
}

void rota_lease_guard(rota_worker *worker)
{
    struct rota_lease *lease = &worker->lease;
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGKILL};
    struct itimerspec when = {0};
    if (!lease->honoured || has_lost_runs(worker))
        return;
    if (!lease->timed && timer_create(CLOCK_BOOTTIME, &event, &lease->timer) != 0) {
        rota_link_error(&worker->link, "no timer for the end of the lease");
        rota_link_close(&worker->link); /* the promise cannot be kept */
        return;
    }
    lease->timed = true;
    if (is_busy(worker)) {
        when.it_value.tv_sec = lease->until_ns / NS_PER_SECOND;
        when.it_value.tv_nsec = lease->until_ns % NS_PER_SECOND;
    }
    timer_settime(lease->timer, TIMER_ABSTIME, &when, NULL);
}

void rota_lease_end(rota_worker *worker)
{
    if (worker->lease.timed)
        timer_delete(worker->lease.timer);
}
