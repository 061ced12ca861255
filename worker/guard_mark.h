/*
 * The mark in the environment of everything that a worker starts, by which a process that has left
 * its session and lost its parents can still be told to be of a worker, and of which one.
 */
#ifndef WORKER_GUARD_MARK_H
#define WORKER_GUARD_MARK_H

#include <stdint.h>
#include <sys/types.h>

#define GUARD_MARK      "ROTA_WORKER" /* the variable; its value: pid of the guard, `-`, number */
#define GUARD_MARK_SIZE 48

void guard_mark_write(char mark[GUARD_MARK_SIZE], pid_t guard, uint32_t number);

/* 1: it descends from that worker of this guard, 0: from none, -1: nothing is to be seen of it. */
int guard_mark_read(pid_t process, pid_t guard, uint32_t *ret_number);

#endif
