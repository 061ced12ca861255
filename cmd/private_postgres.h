/*
 * The private PostgreSQL of `rota up`: made, started and stopped in its data directory. Reached by
 * a Unix socket in a directory that only its user may enter, and by TCP on 127.0.0.1 at a port the
 * kernel chose; both ask for a generated password. Everything happens on the event loop.
 *
 *   clearing    a server that a killed `up` left behind is stopped
 *   creating    initdb, then the database; its files are synced while it runs already
 *   starting    until its pid file says "ready"
 *   ready       connections are taken; should it end now, it is started again
 *   stopping    fast shutdown
 */
#ifndef CMD_PRIVATE_POSTGRES_H
#define CMD_PRIVATE_POSTGRES_H

#include "base/error.h"

#include <stdbool.h>

struct account;
struct child;
struct children;
struct data_directory;
struct event_base;
struct private_postgres;

struct private_postgres_callbacks {
    void *arg;
    /* What takes a while now ("creating the database"), for the progress line. */
    void (*busy)(void *arg, const char *what);
    /* It may be used; also after it was started again. */
    void (*ready)(void *arg, bool again);
    /* Something its user should know, such as that it died and is started again. */
    void (*warn)(void *arg, const char *text);
    /* It cannot be used: what, and the end of its log. It is stopped. */
    void (*failed)(void *arg, const struct rota_error *error);
    void (*stopped)(void *arg); /* after private_postgres_stop() */
};

/* Looks at directory and programs, starts nothing. `bindir`: NULL or where the programs are. */
struct private_postgres *private_postgres_new(struct event_base *base, struct children *children,
                                              const struct data_directory *directory,
                                              const struct account *account, const char *bindir,
                                              const struct private_postgres_callbacks *callbacks,
                                              struct rota_error *error);
void private_postgres_free(struct private_postgres *postgres); /* NULL is fine; must not run */

void private_postgres_start(struct private_postgres *postgres);
void private_postgres_stop(struct private_postgres *postgres);
void private_postgres_hurry(struct private_postgres *postgres); /* an immediate shutdown now */

const char *private_postgres_url(const struct private_postgres *postgres); /* once ready */
int private_postgres_port(const struct private_postgres *postgres);
int private_postgres_version(const struct private_postgres *postgres);  /* major */
bool private_postgres_created(const struct private_postgres *postgres); /* in this run */

#endif
