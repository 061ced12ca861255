/*
 * Membership as the rest of the node sees it: the incarnation, its lease, the clock of the
 * database, and what is known of other nodes. member.c keeps it, recover.c acts on the death of
 * others.
 */
#ifndef COORD_MEMBER_H
#define COORD_MEMBER_H

#include "base/error.h"
#include "coord/database_clock.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct event;
struct node;
struct suspect; /* an incarnation whose lock was free at the last look: recover.c */

struct member {
    int32_t incarnation; /* 0 before registration and while declared dead */
    int32_t dead;        /* the one before, if it was declared dead */
    bool locked;         /* our session holds the incarnation's advisory lock */
    bool leader;
    bool deaf;        /* notifications were refused */
    bool others_hold; /* other nodes have receipts: worth probing for their death between heartbeats
                       */
    bool deputy;      /* looks for deaths as the leader does: for the leader's own */
    bool lanes;       /* some run holds a lane or waits for one: worth a sweep */
    bool beating;     /* a heartbeat or a registration is out, */
    int64_t sent_boot_us;          /* since then */
    int announcing;                /* statements that tell of us and are not answered */
    bool announce_again;           /* what our workers are has changed meanwhile */
    int64_t lease_until_boot_us;   /* may act until then: counted from when the renewal was sent */
    struct database_clock clock;
    int64_t clock_stepped_boot_us; /* when it was seen to jump; 0: never */
    int64_t no_deaths_before_boot_us; /* nobody is declared dead earlier (restart_delay) */
    int64_t no_lanes_before_boot_us;  /* the same after every session, the first too: no leases of
                                         others are trusted earlier */
    int unmet; /* connections whose server has not said whether it has taken over: server_meet.c */
    int64_t lanes_from_boot_us; /* nothing of lanes is claimed earlier */
    struct event *heartbeat;
    struct event *probe;
    struct suspect *suspects;
    int64_t *unknown_receipts; /* of the last heartbeat: put back if still unknown at the next */
    size_t unknown_count;
    uint64_t unknown_step; /* the claim that was out then may be theirs, a later one cannot */
    int64_t wish_number;   /* of the newest wish that was heard: control.c */
    bool told_standby;     /* asked before this start to stand by */
    char session_name[64]; /* application names of our connections */
    char work_name[64];
};

/* member.c */
int member_register(struct node *node, struct rota_error *error);
void member_hold(struct node *node);  /* asked while the node starts: keeps lease and locks */
void member_begin(struct node *node); /* heartbeats from now on */
void member_session_ready(struct node *node);
void member_session_lost(struct node *node);
void member_announce(struct node *node);        /* handlers, slots, state into our row */
void member_workers_changed(struct node *node); /* likewise, when the last one is through */
void member_others_work(struct node *node); /* a sign that other nodes have runs, or will have */
void member_resign(struct node *node);      /* from the housekeeping */
void member_beat_soon(struct node *node);   /* there is something to hear */
void member_end(struct node *node);

/* What time it is for the database: it said so between sending and now. */
void member_clock(struct node *node, int64_t database_us, int64_t sent_boot_us);

/* control.c: what the node is asked to be; `wish` NULL: nothing. Begin: with what holds at the
 * start. */
void control_begin(struct node *node, const char *wish, int64_t number);
void control_heard(struct node *node, const char *wish, int64_t number);
bool control_notified(struct node *node, const char *payload); /* false: it is about work */

/* server_meet.c: asked first on each new connection; and when that is lost. */
void server_meet(struct node *node, bool session);
void server_lost(struct node *node, bool session);

/* reconcile.c */
void reconcile_receipts(struct node *node, int64_t *fences, size_t count); /* sorts them */

/* recover.c */
/* True if somebody is suspected who was not at the look before. */
bool recover_look(struct node *node, const int64_t *ids, const int64_t *renewed,
                  const char *const *names, size_t count);
void recover_free(struct node *node);

#endif
