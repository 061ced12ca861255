/*
 * A node: the coordinator's state, passed to every part of it. The parts are files of this folder,
 * each with a section of its own here; data goes one way through them: wake (wake.c) → acquire
 * (acquire.c) → fire (fire.c) → run (dispatch.c) → complete (complete.c) beside them: membership
 * (member.c), control from elsewhere (control.c), recovery (recover.c), definitions (definition.c),
 * what the queue asks beside claims (queue.h),
 * life cycle (lifecycle.c), start and drain (node.c, start.c).
 */
#ifndef COORD_NODE_H
#define COORD_NODE_H

#include "base/list.h"
#include "coord/config.h"
#include "coord/definition.h"
#include "coord/flow.h"
#include "coord/lifecycle.h"
#include "coord/member.h"
#include "coord/observe.h"
#include "coord/queue.h"
#include "coord/run.h"
#include "store/store.h"
#include "worker/worker.h"

#include <event2/event.h>

struct http_server;
struct wake;
struct acquire;
struct complete;
struct ahead;
struct notes;
struct cluster_locks;
struct rate;
struct after;
struct cancels;
struct busy;
struct sweep;
struct history;
struct metrics;
struct events;

struct node {
    const struct node_config *config;
    struct log log;
    struct event_base *base;
    enum node_state state;
    bool stop;  /* SIGTERM or SIGINT was seen */
    bool hurry; /* and another */
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
    struct ahead *ahead;
    struct complete *complete;
    struct notes *notes;
    struct cluster_locks *locks;
    struct rate *rate;
    struct after *after;
    struct cancels *cancels;
    struct busy *busy;
    struct sweep *sweep;
    struct history *history;
    struct observers observers;
    struct metrics *metrics;
    struct events *events;
    struct http_server *http;
    const char *http_url; /* NULL: no HTTP */
    struct event *signals[3];
    struct event *grace;
    struct event *chores;
    int64_t next_sweep_boot_us; /* of the leader, over the lanes */
    int64_t late_refused;       /* completions that came after somebody else had taken the run */
};

/* node.c */
void node_move(struct node *node, enum node_event event);
bool node_may_claim(const struct node *node);       /* running, lease good, results can be kept */
bool node_may_claim_lanes(const struct node *node); /* and more than half of the lease is left */
int64_t node_database_now(const struct node *node); /* wall microseconds, as far as we know */
void node_sweep_lanes(struct node *node);           /* the leader's, at each heartbeat */
void node_stop(struct node *node, bool hurry);      /* as SIGTERM does; hurry: ends what runs */
void node_drained(struct node *node);               /* asked after each completion while draining */
void node_status(struct node *node);  /* tells HTTP that the loop turns and whether we are ready */
void node_connect(struct node *node); /* opens the session and work connections */
int node_workers(struct node *node, struct rota_error *error); /* starts guard and pools */

/* start.c: everything before the first firing, straight-line. 0 or -1 with error. */
int node_start(struct node *node, struct rota_error *error);

#endif
