/*
 * What a node asks a server that it comes to, ahead of all else on a new connection: whether it has
 * taken over from another. One that has may have forgotten what was committed last: which numbers
 * were given, and who holds what.
 */
#include "coord/node.h"

#include "base/clock.h"

enum { ASKED_SESSION = 1, ASKED_WORK = 2 };

/*
 * Claims of lanes that the old server forgot to pass on are held by nodes that may not know of it
 * yet: until their leases are over, the lanes only seem to be free.
 */
static void met(struct node *node, int asked, const struct store_answer *answer)
{
    struct member *m = &node->member;
    int64_t now_us = clock_boot_us(), until_us = now_us;
    if (answer->error != NULL && !store_ready(asked == ASKED_WORK ? node->work : node->session))
        return; /* the next connection is asked */
    if (answer->error != NULL) {
        if (store_fault(answer->error) != FAULT_RETRY)
            log_error(&node->log, "cannot ask the server whether it has taken over",
                      LOG_TEXT("error", answer->error->message));
        until_us = now_us + node->config->restart_delay_us;
    } else if (!row_null(answer->result, 0, 0)) {
        int64_t age_us = row_int64(answer->result, 0, 0) * US_PER_MS;
        until_us = now_us + node->config->restart_delay_us - (age_us > 0 ? age_us : 0);
    }
    m->unmet &= ~asked;
    if (until_us <= now_us || until_us <= m->lanes_from_boot_us)
        return;
    m->lanes_from_boot_us = until_us;
    if (answer->error == NULL)
        log_info(&node->log, "another server has taken over: no runs of lanes for a while",
                 LOG_INT("wait_ms", (until_us - now_us) / US_PER_MS));
}

static void on_session(void *arg, const struct store_answer *answer)
{
    met(arg, ASKED_SESSION, answer);
    wake_look(arg);
}

static void on_work(void *arg, const struct store_answer *answer)
{
    met(arg, ASKED_WORK, answer);
    wake_look(arg);
}

void server_meet(struct node *node, bool session)
{
    server_lost(node, session);
    store_call(session ? node->session : node->work, SQL_SERVER_MEET, NULL, 0,
               session ? on_session : on_work, node);
}

/* Behind a pooler the one connection may stay while the server changes, and the other is lost. */
void server_lost(struct node *node, bool session)
{
    node->member.unmet |= session ? ASKED_SESSION : ASKED_WORK;
}
