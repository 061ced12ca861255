/*
 * A node: the coordinator's state, passed to every part of it. The parts are files of this folder, each
 * with a section of its own here; data goes one way through them:
 *     wake (wake.c) → acquire (acquire.c) → fire (fire.c) → run (dispatch.c) → complete (complete.c)
 * beside them: membership (member.c), recovery (recover.c), definitions (definition.c), life cycle
 * (lifecycle.c), start and drain (node.c, start.c).
 */
#ifndef COORD_NODE_H
#define COORD_NODE_H

#include "base/list.h"
#include "coord/config.h"
#include "coord/definition.h"
#include "coord/lifecycle.h"
#include "coord/run.h"
#include "store/store.h"
#include "worker/worker.h"

#include <event2/event.h>

#define NODE_POOLS_MAX    64
#define NODE_ROUTES_MAX   256  /* of one claim: handlers times priorities in use on this node */
#define NODE_CLAIM_MAX    300  /* runs of one claim: as fast as 1000 and far better for latency */
#define NODE_RESULTS_MAX  20000 /* finished runs not written yet: beyond it nothing is acquired */

struct http_server;
struct wake;
struct acquire;
struct complete;

/* A route this node can serve, and how many more runs its pool takes now. */
struct route {
    int32_t id;
    int16_t priority;
    int32_t pool;
    int32_t room;
};

struct suspect; /* an incarnation whose lock was free at the last look: recover.c */

struct member {
    int32_t incarnation; /* 0 before registration and while declared dead */
    bool locked;         /* our session holds the incarnation's advisory lock */
    bool leader;
    bool others_hold; /* other nodes have receipts: worth probing for their death between heartbeats */
    bool beating;     /* a heartbeat or a registration is out, */
    int64_t sent_boot_us; /* since then */
    int64_t lease_until_boot_us; /* may act until then: counted from when the renewal was sent */
    int64_t clock_offset_us;     /* database wall clock minus our boot clock */
    int64_t no_deaths_before_boot_us; /* nobody is declared dead earlier (restart_delay) */
    struct event *heartbeat;
    struct event *probe;
    struct suspect *suspects;
    int64_t *unknown_receipts; /* of the last heartbeat: put back if still unknown at the next */
    size_t unknown_count;
    char session_name[64]; /* application names of our connections */
    char work_name[64];
};

struct node {
    const struct node_config *config;
    struct log log;
    struct event_base *base;
    enum node_state state;
    bool stop;      /* SIGTERM or SIGINT was seen */
    bool hurry;     /* and another */
    bool lost_guard;
    int exit_code;
    int32_t lock_class; /* first half of our advisory locks: a hash of lock_namespace and schema */
    struct store *session;
    struct store *work;
    struct workers *workers;
    struct member member;
    struct zone_cache *zones;
    struct definitions *definitions;
    struct runs *runs;
    struct wake *wake;
    struct acquire *acquire;
    struct complete *complete;
    struct http_server *http;
    const char *http_url; /* NULL: no HTTP */
    struct event *signals[2];
    struct event *grace;
    struct event *chores;
    int64_t late_refused; /* completions that came after somebody else had taken the run */
};

/* node.c */
void node_move(struct node *node, enum node_event event);
bool node_may_claim(const struct node *node); /* running, lease good, results can be kept */
int64_t node_database_now(const struct node *node); /* wall microseconds, as far as we know */
void node_drained(struct node *node); /* asked after each completion while draining */
void node_status(struct node *node); /* tells HTTP that the loop turns and whether we are ready */
void node_connect(struct node *node); /* opens the session and work connections */
int node_workers(struct node *node, struct rota_error *error); /* starts guard and pools */

/* start.c: everything before the first firing, straight-line. 0 or -1 with error. */
int node_start(struct node *node, struct rota_error *error);

/* member.c */
int member_register(struct node *node, struct rota_error *error);
void member_begin(struct node *node); /* heartbeats from now on */
void member_session_ready(struct node *node);
void member_session_lost(struct node *node);
void member_announce(struct node *node); /* handlers, slots, state into our row */
void member_resign(struct node *node); /* from the housekeeping */
void member_end(struct node *node);

/* recover.c */
void recover_look(struct node *node, const int64_t *ids, const int64_t *renewed, const char *const *names,
                  size_t count);
void recover_free(struct node *node);

/* wake.c: decides when to look for work. Times are database wall microseconds. */
void wake_new(struct node *node);
void wake_free(struct node *node);
void wake_routes(struct node *node, const struct route **ret_routes, size_t *ret_count); /* with room only */
void wake_handlers_changed(struct node *node);
void wake_route_seen(struct node *node, int32_t newest); /* newest route id in the database */
void wake_notified(struct node *node, const char *payload);
void wake_next(struct node *node, int64_t trigger_us, int64_t pending_us); /* STORE_NULL_TIME: none */
void wake_look(struct node *node); /* something may have changed: look soon */
void wake_step(struct node *node); /* an acquire step has ended: what is next? */
size_t wake_handlers(struct node *node, const char *const **ret_handlers); /* that our workers announced */
void wake_trigger_unknown(struct node *node); /* all that was due is taken: ask when the next is */
void wake_pending_unknown(struct node *node);
void wake_claimed(struct node *node, int count); /* what a claim brought: nothing makes the next wait a little */
void wake_failed(struct node *node); /* the step failed: look again in a moment */

/* acquire.c: one step at a time on the work connection; each ends with wake_step(). */
void acquire_new(struct node *node);
void acquire_free(struct node *node);
bool acquire_busy(const struct node *node);
void acquire_triggers(struct node *node, const struct route *routes, size_t count);
void acquire_pending(struct node *node, const struct route *routes, size_t count);
void acquire_ask(struct node *node, const struct route *routes, size_t count);
void acquire_lost(struct node *node); /* the work connection is gone: the step is over */

/* dispatch.c */
void dispatch_runs(struct node *node, struct run **runs, size_t count); /* claimed: to workers or back */

/* complete.c */
void complete_new(struct node *node);
void complete_free(struct node *node);
void complete_result(struct node *node, const struct worker_result *result);
void complete_run(struct node *node, struct run *run, const char *status, const char *outcome, const char *message);
void complete_put_back(struct node *node, struct run *run, int64_t delay_us, bool attempt, bool crash,
                       bool recovering, const char *outcome, const char *message);
size_t complete_unwritten(const struct node *node);
void complete_ready(struct node *node); /* the work connection is back: write what was kept */
void complete_receipts(struct node *node, const int64_t *fences, size_t count); /* unknown ones: put back */

#endif
