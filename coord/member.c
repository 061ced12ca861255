/*
 * Membership: a node's incarnation, its advisory lock, and the heartbeat that renews the lease and
 * brings back everything else a node must know. The lease counts from when its renewal was sent, on
 * the clock that does not stop while the machine sleeps.
 */
#include "coord/node.h"

#include "base/clock.h"
#include "base/memory.h"
#include "coord/cluster_lock.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PROBE_US        (700 * US_PER_MS)
#define PROBE_MARGIN_US (10 * US_PER_MS) /* looks count as two when they are PROBE_US apart */
#define RELOCK_US                                                                                  \
    (50 * US_PER_MS) /* our old session is ended, not gone: free for 700 ms, the lock would be our \
                        death */

#define CLOCK_STEP_US (500 * US_PER_MS) /* no drift and no slow answer explains more */

static void on_probe(evutil_socket_t fd, short what, void *arg);

static const char *state_text(const struct node *node)
{
    switch (node->state) {
    case NODE_RUNNING:
        return "running";
    case NODE_DISABLED:
        return "disabled";
    case NODE_DRAINING:
    case NODE_STOPPED:
        return "draining";
    default:
        return "standby";
    }
}

static void register_params(struct node *node, struct store_params *params)
{
    char host[256] = "";
    const char *backends[] = {node->member.session_name, node->member.work_name};
    gethostname(host, sizeof host - 1);
    params_text(params, node->config->node_name);
    params_text(params, state_text(node));
    params_int64(params, node->config->lease_us / US_PER_MS);
    params_text(params, ROTA_VERSION);
    params_text(params, host);
    params_int32(params, getpid());
    params_texts(params, backends, 2);
    params_int32(params, node->lock_class);
    params_int32(params, node->member.dead);
    params_int64(params, node->config->restart_delay_us / US_PER_MS);
    params_int32(params, migration_count);
}

/*
 * A clock that jumps (somebody set it, another server took over) ends leases before their time:
 * whoever would act on that has to know.
 */
void member_clock(struct node *node, int64_t database_us, int64_t sent_boot_us)
{
    struct member *m = &node->member;
    int64_t now = clock_boot_us();
    int64_t step = database_clock_hear(&m->clock, database_us, sent_boot_us, now);
    cluster_locks_clock(node->locks, database_us, sent_boot_us);
    if (llabs(step) <= CLOCK_STEP_US)
        return;
    m->clock_stepped_boot_us = now;
    log_warn(&node->log, "the clock of the database has jumped: leases of lanes count anew",
             LOG_INT("by_ms", step / US_PER_MS));
}

static void renewed(struct node *node, int64_t sent_boot_us)
{
    node->member.lease_until_boot_us = sent_boot_us + node->config->lease_us;
    workers_lease(node->workers, node->member.lease_until_boot_us);
}

/*
 * The others lost their sessions with the server, too, and come back: a free lock is no death until
 * they have had the time. Not only for those who lost one: we may not have been there.
 */
static void wait_for_others(struct node *node, int64_t server_known_us)
{
    int64_t wait_us = node->config->restart_delay_us - server_known_us, now = clock_boot_us();
    if (wait_us <= 0 || now + wait_us <= node->member.no_deaths_before_boot_us)
        return;
    node->member.no_deaths_before_boot_us = now + wait_us;
    log_info(&node->log, "PostgreSQL has begun anew: other nodes get the time to come back",
             LOG_INT("ago_ms", server_known_us / US_PER_MS),
             LOG_INT("wait_ms", wait_us / US_PER_MS));
}

/* Columns as node_register.sql lists them. */
static void registered(struct node *node, const PGresult *result)
{
    struct member *m = &node->member;
    m->incarnation = row_int32(result, 0, 0);
    m->locked = row_bool(result, 0, 1);
    m->leader = false;
    member_clock(node, row_time(result, 0, 2), m->sent_boot_us);
    renewed(node, m->sent_boot_us);
    wait_for_others(node, row_int64(result, 0, 5) * US_PER_MS);
    log_info(&node->log, "node registered", LOG_INT("incarnation", m->incarnation));
}

int member_register(struct node *node, struct rota_error *error)
{
    struct store_params params = {0};
    PGresult *result;
    node->member.sent_boot_us = clock_boot_us();
    register_params(node, &params);
    int failed = store_wait(node->session, SQL_NODE_REGISTER, &params, 0, &result, error);
    store_params_free(&params);
    if (failed != 0)
        return -1;
    registered(node, result);
    control_begin(node, row_text(result, 0, 3), row_int64(result, 0, 4));
    PQclear(result);
    return 0;
}

/* ---- a new incarnation, after this one was declared dead ---- */

static void on_registered(void *arg, const struct store_answer *answer)
{
    struct node *node = arg;
    node->member.beating = false;
    if (answer->error != NULL)
        return; /* the next beat tries again */
    registered(node, answer->result);
    control_heard(node, row_text(answer->result, 0, 3), row_int64(answer->result, 0, 4));
    member_announce(node);
    wake_look(node);
}

/* Runs of lanes that were taken from us and do not end: a new lease would let them go on. */
static bool lanes_linger(const struct node *node)
{
    struct run *run, *next;
    if (clock_boot_us() >= node->member.lease_until_boot_us)
        return false; /* the guard has ended them */
    HASH_ITER (hh, node->runs->by_key, run, next)
        if (run->laned && run->place == RUN_AT_WORKER)
            return true;
    return false;
}

static void register_again(struct node *node)
{
    if (lanes_linger(node))
        return; /* the next beat tries again */
    struct store_params params = {0};
    node->member.sent_boot_us = clock_boot_us();
    node->member.beating = true;
    register_params(node, &params);
    store_call(node->session, SQL_NODE_REGISTER, &params, 0, on_registered, node);
    store_params_free(&params);
}

/* Somebody has taken our runs: what still runs here is void and is ended. */
static void declared_dead(struct node *node)
{
    struct run *run, *next;
    log_error(&node->log, "declared dead by another node: ending all runs, registering anew",
              LOG_INT("incarnation", node->member.incarnation),
              LOG_INT("runs", runs_count(node->runs)));
    observe_count(node, OBSERVE_FENCED, runs_count(node->runs));
    node->member.dead = node->member.incarnation;
    node->member.incarnation = 0;
    node->member.leader = false;
    HASH_ITER (hh, node->runs->by_key, run, next) {
        run->fenced = true;
        if (run->place == RUN_AT_WORKER)
            workers_cancel(node->workers, run->key.id, run->key.fence, "fenced");
    }
    complete_ready(node); /* forgets the finished ones */
}

/* ---- heartbeat ---- */

static bool probe_wanted(const struct member *m)
{
    return ((m->leader || m->deputy) && m->others_hold) || m->suspects != NULL;
}

/* The first look comes as soon, on average, as if we had looked all the time: nobody else has work
 * most of the time, and an idle node has no reason to wake up. */
static void probe_soon(struct node *node)
{
    struct member *m = &node->member;
    struct timeval first = clock_timeval(PROBE_US / 2);
    if (m->probe != NULL && probe_wanted(m) && !evtimer_pending(m->probe, NULL))
        evtimer_add(m->probe, &first);
}

/* The second look at who is suspected, not a moment later than it counts. */
static void look_again(struct node *node)
{
    struct timeval then = clock_timeval(PROBE_US + PROBE_MARGIN_US);
    if (node->member.probe != NULL)
        evtimer_add(node->member.probe, &then);
}

static void take_suspects(struct node *node, const PGresult *result)
{
    size_t count, ignored;
    int64_t *ids = row_int64s(result, 0, 6, &count), *renewed = row_int64s(result, 0, 7, &ignored);
    char **names = row_texts(result, 0, 8, &ignored);
    if (recover_look(node, ids, renewed, (const char *const *)names, count))
        look_again(node);
    free(ids);
    free(renewed);
    free(names);
}

/* Somebody has migrated the schema to what this binary must not work on any more. */
static void check_schema(struct node *node, int needs)
{
    if (needs <= migration_count || node->stop)
        return;
    log_error(&node->log, "the schema has become too new for this rota: draining, run a newer one",
              LOG_INT("needs_version", needs), LOG_INT("knows_version", migration_count));
    node->exit_code = ERROR_REFUSED;
    node_stop(node, false);
}

/* Columns as node_heartbeat.sql lists them. */
static void take_beat(struct node *node, const PGresult *result)
{
    struct member *m = &node->member;
    size_t count;
    member_clock(node, row_time(result, 0, 1), m->sent_boot_us);
    renewed(node, m->sent_boot_us);
    if (row_bool(result, 0, 2)) {
        m->leader = true;
        log_info(&node->log, "leader of the housekeeping");
    }
    wake_route_seen(node, row_int32(result, 0, 4));
    int64_t *fences = row_int64s(result, 0, 5, &count);
    reconcile_receipts(node, fences, count);
    free(fences);
    take_suspects(node, result);
    m->others_hold = row_bool(result, 0, 9);
    acquire_beat(node, (const int64_t[WORK_KINDS]){
                           [WORK_TRIGGERS] = row_time(result, 0, 10),
                           [WORK_PENDING] = row_time(result, 0, 11),
                           [WORK_LANE_TRIGGERS] = row_time(result, 0, 12),
                           [WORK_LANE_PENDING] = row_time(result, 0, 13),
                       });
    m->lanes = row_bool(result, 0, 14);
    node_sweep_lanes(node);
    control_heard(node, row_text(result, 0, 15),
                  row_null(result, 0, 16) ? 0 : row_int64(result, 0, 16));
    check_schema(node, row_int32(result, 0, 17));
    m->deputy = row_bool(result, 0, 18);
    probe_soon(node);
    queue_heard(node, result, 19);
    node_status(node);
}

static void on_answered(void *arg, const struct store_answer *answer)
{
    struct node *node = arg;
    node->member.beating = false;
    observe_count(node, OBSERVE_HEARTBEAT, answer->error == NULL);
    if (answer->error != NULL) {
        if (store_ready(node->session)) /* else the lost connection was told of */
            log_warn(&node->log, "heartbeat refused: the lease is not renewed",
                     LOG_TEXT("error", answer->error->message));
    } else if (!row_bool(answer->result, 0, 0)) {
        declared_dead(node);
        register_again(node);
    } else {
        take_beat(node, answer->result);
    }
}

static void send_beat(struct node *node, bool stand, const struct route *routes, size_t count,
                      store_callback callback)
{
    int32_t ids[NODE_CLAIM_ROUTES_MAX];
    for (size_t i = 0; i < count; i++)
        ids[i] = routes[i].id;
    struct member *m = &node->member;
    struct store_params params = {0};
    m->sent_boot_us = clock_boot_us();
    m->beating = true;
    params_int32(&params, m->incarnation);
    params_int64(&params, node->config->lease_us / US_PER_MS);
    params_int32(&params, node->lock_class);
    params_bool(&params, stand);
    params_int32s(&params, ids, count);
    acquire_beat_params(node, routes, count, &params);
    store_call(node->session, SQL_NODE_HEARTBEAT, &params, 0, callback, node);
    store_params_free(&params);
}

static void beat(struct node *node)
{
    cluster_locks_renew(node->locks);
    const struct route *routes;
    size_t count;
    wake_routes(node, &routes, &count);
    if (!node_may_claim(node))
        count = 0; /* what is due is not for us: do not look */
    send_beat(node, !node->member.leader && node->state != NODE_DRAINING, routes, count,
              on_answered);
}

/* ---- the lock, after a lost session ---- */

static void on_relocked(void *arg, const struct store_answer *answer)
{
    struct node *node = arg;
    if (answer->error != NULL)
        return;
    if (!row_bool(answer->result, 0, 0)) {
        declared_dead(node);
        if (!node->member.beating)
            register_again(node);
        return;
    }
    node->member.locked = row_bool(answer->result, 0, 2);
    if (!node->member.locked && node->member.heartbeat != NULL) {
        struct timeval soon = clock_timeval(RELOCK_US);
        evtimer_add(node->member.heartbeat, &soon);
    } else if (node->member.locked && !node->member.beating) {
        beat(node);
    }
}

static void relock(struct node *node)
{
    struct store_params params = {0};
    params_int32(&params, node->member.incarnation);
    params_int32(&params, node->lock_class);
    params_text(&params, node->member.session_name);
    store_call(node->session, SQL_NODE_RELOCK, &params, 0, on_relocked, node);
    store_params_free(&params);
}

static void on_beat(evutil_socket_t fd, short what, void *arg)
{
    struct node *node = arg;
    (void)fd;
    (void)what;
    struct timeval interval = clock_timeval(node->config->heartbeat_us);
    evtimer_add(node->member.heartbeat, &interval);
    node_status(node);
    if (!store_ready(node->session) || node->member.beating)
        return;
    if (node->member.incarnation == 0) {
        register_again(node);
        return;
    }
    if (!node->member.locked)
        relock(node); /* our old session still held the lock at the last try */
    beat(node);
}

/* ---- while the node starts ---- */

static void on_held(void *arg, const struct store_answer *answer)
{
    struct node *node = arg;
    node->member.beating = false;
    if (answer->error == NULL && row_bool(answer->result, 0, 0)) {
        member_clock(node, row_time(answer->result, 0, 1), node->member.sent_boot_us);
        renewed(node, node->member.sent_boot_us);
    }
    if (node->member.heartbeat != NULL) /* the start is over: this one has been in the way */
        on_beat(-1, 0, node);
}

void member_hold(struct node *node)
{
    struct member *m = &node->member;
    if (m->incarnation == 0 || m->heartbeat != NULL || m->beating || !store_ready(node->session) ||
        clock_boot_us() - m->sent_boot_us < node->config->heartbeat_us)
        return;
    cluster_locks_renew(node->locks);
    send_beat(node, false, NULL, 0, on_held);
}

/* ---- between heartbeats the leader looks for dead nodes that hold runs, and others for it ---- */

static void on_probed(void *arg, const struct store_answer *answer)
{
    struct node *node = arg;
    if (answer->error != NULL)
        return;
    size_t count = (size_t)PQntuples(answer->result);
    int64_t *ids = mem_array(count, sizeof *ids), *renewed = mem_array(count, sizeof *renewed);
    const char **names = mem_array(count, sizeof *names);
    for (size_t i = 0; i < count; i++) {
        ids[i] = row_int32(answer->result, (int)i, 0);
        renewed[i] = row_int64(answer->result, (int)i, 1);
        names[i] = row_text(answer->result, (int)i, 2);
    }
    if (recover_look(node, ids, renewed, names, count))
        look_again(node);
    free(ids);
    free(renewed);
    free(names);
}

static void on_probe(evutil_socket_t fd, short what, void *arg)
{
    struct node *node = arg;
    (void)fd;
    (void)what;
    struct member *m = &node->member;
    if (!probe_wanted(m))
        return;
    struct timeval interval = clock_timeval(PROBE_US);
    evtimer_add(m->probe, &interval);
    if (m->incarnation == 0 || !store_ready(node->session))
        return;
    struct store_params params = {0};
    params_int32(&params, m->incarnation);
    params_int32(&params, node->lock_class);
    store_call(node->session, SQL_NODE_PROBE, &params, 0, on_probed, node);
    store_params_free(&params);
}

/* ---- */

void member_begin(struct node *node)
{
    struct member *m = &node->member;
    m->heartbeat = evtimer_new(node->base, on_beat, node);
    m->probe = evtimer_new(node->base, on_probe, node);
    on_beat(-1, 0, node);
}

void member_beat_soon(struct node *node)
{
    struct timeval soon = clock_timeval(node->member.beating ? RELOCK_US : 0);
    if (node->member.heartbeat != NULL)
        evtimer_add(node->member.heartbeat, &soon);
}

static void on_listening(void *arg, const struct store_answer *answer)
{
    struct node *node = arg;
    bool was_deaf = node->member.deaf;
    node->member.deaf = answer->error != NULL;
    if (answer->error == NULL || !store_ready(node->session))
        return;
    if (!was_deaf)
        log_warn(&node->log, "notifications are refused: looking for work by polling",
                 LOG_TEXT("error", answer->error->message));
    wake_look(node);
}

void member_session_ready(struct node *node)
{
    struct member *m = &node->member;
    server_meet(node, true);
    if (node->config->notify)
        store_call(node->session, SQL_SESSION_LISTEN, NULL, 0, on_listening, node);
    /* a restart of the server may have lost the newest renewals, and we cannot know of it */
    m->no_lanes_before_boot_us = clock_boot_us() + node->config->restart_delay_us;
    if (m->incarnation == 0)
        return; /* the start registers */
    /* whoever else lost its session with us gets the time to come back */
    m->no_deaths_before_boot_us = m->no_lanes_before_boot_us;
    m->leader = false;
    relock(node);
    member_announce(node); /* what has changed meanwhile was told to nobody */
    wake_look(node);
}

void member_session_lost(struct node *node)
{
    server_lost(node, true);
    node->member.locked = false;
    node->member.leader = false;
    recover_free(node);
}

/* Until the next heartbeat knows: one that dies meanwhile is found as soon as any. */
void member_others_work(struct node *node)
{
    node->member.others_hold = true;
    probe_soon(node);
}

/* The housekeeping goes to a node that stays. */
void member_resign(struct node *node)
{
    struct store_params params = {0};
    if (!node->member.leader || !store_ready(node->session))
        return;
    node->member.leader = false;
    params_int32(&params, node->lock_class);
    store_call(node->session, SQL_LEADER_RESIGN, &params, 0, NULL, NULL);
    store_params_free(&params);
}

static void on_announced(void *arg, const struct store_answer *answer)
{
    struct node *node = arg;
    (void)answer; /* a session that comes back tells all of it */
    if (--node->member.announcing > 0 || !node->member.announce_again)
        return;
    node->member.announce_again = false;
    member_announce(node);
}

/* One at a time: workers may come and go faster than it is written, and heartbeats wait behind it.
 */
void member_workers_changed(struct node *node)
{
    if (node->member.announcing > 0)
        node->member.announce_again = true;
    else
        member_announce(node);
}

void member_announce(struct node *node)
{
    const char *const *handlers;
    size_t count = wake_handlers(node, &handlers);
    const struct worker_pool_view *views;
    size_t pools = workers_pools(node->workers, &views);
    int32_t slots = 0;
    if (node->member.incarnation == 0 || !store_ready(node->session))
        return;
    node->member.announcing++;
    for (size_t i = 0; i < pools; i++)
        slots += views[i].slots;
    struct buffer versions = {0};
    workers_versions(node->workers, &versions);
    struct store_params params = {0};
    params_int32(&params, node->member.incarnation);
    params_text(&params, state_text(node));
    params_texts(&params, handlers, count);
    params_int32(&params, slots);
    params_text(&params, node->http_url);
    params_text(&params, buffer_text(&versions));
    store_call(node->session, SQL_NODE_UPDATE, &params, 0, on_announced, node);
    store_params_free(&params);
    buffer_free(&versions);
}

void member_end(struct node *node)
{
    struct member *m = &node->member;
    if (m->heartbeat != NULL)
        event_free(m->heartbeat);
    if (m->probe != NULL)
        event_free(m->probe);
    m->heartbeat = m->probe = NULL;
    free(m->unknown_receipts);
    m->unknown_receipts = NULL;
    recover_free(node);
}
