/* Between private_postgres.c and postgres_create.c only. */
#ifndef CMD_PRIVATE_POSTGRES_INT_H
#define CMD_PRIVATE_POSTGRES_INT_H

#include "cmd/account.h"
#include "cmd/postgres_binaries.h"
#include "cmd/private_postgres.h"

#include <stdint.h>
#include <sys/types.h>

struct event;

enum private_postgres_state { IDLE, CLEARING, CREATING, STARTING, READY, STOPPING };

struct private_postgres {
    struct event_base *base;
    struct children *children;
    struct account account;
    struct postgres_binaries binaries;
    struct private_postgres_callbacks callbacks;
    char *directory;
    char *data;  /* directory/postgres */
    char *draft; /* directory/postgres.new */
    char *password;
    char *socket_directory;
    char *url;
    int port;
    enum private_postgres_state state;
    bool created;
    bool restarting;
    int attempts;
    int restarts;
    int64_t restarts_since_us; /* monotonic */
    int signal;                /* last one sent while clearing or stopping */
    int log_fd;
    off_t log_start;
    struct child *child;
    struct child *sync; /* puts new files on the disk, beside the running server */
    bool stop_waits;    /* for it */
    struct event *timer;
    struct event *leftover; /* readable when the process has ended */
    struct event *pid_file; /* readable when something in the data directory was written */
};

void private_postgres_move(struct private_postgres *postgres, enum private_postgres_state to);
/* Starts a program of PostgreSQL's that prints into the log. NULL with error. */
struct child *private_postgres_run(struct private_postgres *postgres, const char *const *argv,
                                   const char *input, int death_signal, void (*ended)(void *, int),
                                   struct rota_error *error);
/* At rest again, with the reason; `error` NULL: it was stopped as wanted. */
void private_postgres_end(struct private_postgres *postgres, const struct rota_error *error);
/* `what` and the complaint of the log. */
void private_postgres_end_with_log(struct private_postgres *postgres, const char *what);
void private_postgres_say_stopped(struct private_postgres *postgres);
void private_postgres_start_server(struct private_postgres *postgres);

/* postgres_create.c: makes the data and starts the server; syncs new data. */
void private_postgres_create(struct private_postgres *postgres);
void private_postgres_sync(struct private_postgres *postgres);

#endif
