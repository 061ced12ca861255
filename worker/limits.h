/*
 * What a worker process of a pool may use at most, set before its program begins and inherited by
 * what it starts. Each is for one process, unless a control group holds it: cgroup.h.
 */
#ifndef WORKER_LIMITS_H
#define WORKER_LIMITS_H

#include <stdint.h>

/* 0: no limit. */
struct worker_limits {
    int64_t memory_bytes; /* private, writable; more is refused to the process (RLIMIT_DATA) */
    int64_t cpu_seconds;  /* of processor time in its whole life; then SIGXCPU (RLIMIT_CPU) */
    int64_t files;        /* descriptors open at once (RLIMIT_NOFILE) */
    int64_t processes;    /* of its user on this machine, all together (RLIMIT_NPROC) */
};

#endif
