/*
 * What a node has to know of a server that it comes to, ahead of all else on a new connection: for
 * how long it has been up, and whether it has taken over from another. One that has may have
 * forgotten what was committed last: who holds what, who has renewed its lease, which numbers were
 * given.
 */
#include "coord/node.h"

#include "base/clock.h"

static int64_t later(int64_t a_us, int64_t b_us)
{
    return a_us > b_us ? a_us : b_us;
}

/* Until when something that may be forgotten holds, which was known `age` ago. */
static int64_t until(const struct node *node, const PGresult *result, int column)
{
    int64_t age_us = row_int64(result, 0, column) * US_PER_MS;
    return clock_boot_us() + node->config->restart_delay_us - (age_us > 0 ? age_us : 0);
}

static void not_known(struct node *node, const struct rota_error *error)
{
    if (store_fault(error) != FAULT_RETRY)
        log_error(&node->log, "cannot ask the server since when it is there",
                  LOG_TEXT("error", error->message));
}

static void on_session(void *arg, const struct store_answer *answer)
{
    struct node *node = arg;
    struct member *m = &node->member;
    if (answer->error != NULL) {
        not_known(node, answer->error);
        return;
    }
    int64_t until_us = until(node, answer->result, 0);
    m->no_deaths_before_boot_us = later(m->no_deaths_before_boot_us, until_us);
    m->no_lanes_before_boot_us = later(m->no_lanes_before_boot_us, until_us);
}

/*
 * Claims of lanes that the old server forgot to pass on are held by nodes that may not know of it
 * yet: until their leases are over, the lanes only seem to be free.
 */
static void on_work(void *arg, const struct store_answer *answer)
{
    struct node *node = arg;
    struct member *m = &node->member;
    int64_t now_us = clock_boot_us(), until_us = now_us;
    if (answer->error != NULL)
        not_known(node, answer->error);
    if (answer->error != NULL)
        until_us = now_us + node->config->restart_delay_us;
    else if (!row_null(answer->result, 0, 1))
        until_us = until(node, answer->result, 1);
    if (until_us > now_us)
        log_info(&node->log, "another server has taken over: no runs of lanes for a while",
                 LOG_INT("wait_ms", (until_us - now_us) / US_PER_MS));
    m->lanes_known = true;
    m->lanes_from_boot_us = until_us;
    wake_look(node);
}

void server_known(struct node *node, bool session)
{
    if (!session)
        node->member.lanes_known = false;
    store_call(session ? node->session : node->work, SQL_SERVER_KNOWN, NULL, 0,
               session ? on_session : on_work, node);
}
