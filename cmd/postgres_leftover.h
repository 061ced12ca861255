/*
 * What a killed `rota up` may have left behind: a running postmaster, or processes of it. They are
 * found by their working directory, which is PostgreSQL's data directory and of nobody else; a
 * process id in a file alone would be no proof.
 */
#ifndef CMD_POSTGRES_LEFTOVER_H
#define CMD_POSTGRES_LEFTOVER_H

#include <sys/types.h>

/*
 * Signals the processes whose working directory is `data` and whose program is postgres: the
 * postmaster alone where its pid file names one of them, else all. Returns one of them to wait for,
 * 0 if there is none.
 */
pid_t postgres_leftover_signal(const char *data, int signal);

/* The process id in postmaster.pid, 0: no such file. */
pid_t postgres_pid_file(const char *data);
/* Does postmaster.pid say that the server `pid` takes connections? */
int postgres_is_ready(const char *data, pid_t pid);

#endif
