/*
 * What coordinator and guard say to each other: one struct a packet, over a SOCK_SEQPACKET socket.
 * Both ends are the same binary, so there are no versions here.
 */
#ifndef WORKER_GUARD_WIRE_H
#define WORKER_GUARD_WIRE_H

#include "worker/guard_link.h"
#include "worker/limits.h"

#include <stdint.h>

#define GUARD_FD         3           /* the guard's end of the socket */
#define GUARD_PACKET_MAX (64 * 1024) /* a worker's command line with its arguments */

enum guard_command_type {
    GUARD_SPAWN, /* value: arguments; they follow, NUL-terminated; the worker's descriptor beside */
    GUARD_KILL,  /* value: the signal for the worker's group */
    GUARD_LANE,  /* value: 1 while the worker holds a lane run, else 0 */
    GUARD_LEASE, /* value: until when the lease holds, clock_boot_us; 0: no lease */
};

struct guard_command {
    uint32_t type;
    uint32_t number; /* of the worker, chosen by the coordinator and never used again */
    int64_t value;
    struct worker_limits limits; /* of a worker to be started */
    char pool[48];               /* its name, the same */
};

enum guard_event_type {
    GUARD_READY,   /* the first word of a guard */
    GUARD_STARTED, /* pid */
    GUARD_REFUSED, /* step and code of struct spawn_failure */
    GUARD_ENDED,   /* status of waitpid; nothing of the worker's tree is left */
};

struct guard_event {
    uint32_t type;
    uint32_t number;
    int32_t pid;
    int32_t status;
    int32_t step;
    int32_t code;
    uint32_t cause; /* enum guard_cause */
};

#endif
