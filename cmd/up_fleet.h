/*
 * The nodes of `rota up`: `rota node` processes named node-1 to node-N. One that ends unexpectedly
 * is started again, but not for ever: a node that ends again and again ends the fleet, and so does
 * one that ends before it has ever worked.
 */
#ifndef CMD_UP_FLEET_H
#define CMD_UP_FLEET_H

#include "base/error.h"

#include <stdbool.h>

struct children;
struct event_base;
struct fleet;
struct show;

struct fleet_config {
    struct event_base *base;
    struct children *children;
    struct show *show;
    const char *self;               /* path of this binary */
    const char *const *environment; /* of every node; must outlive the fleet */
    const char *const *unset;
    int count;
    int port; /* of the first node's HTTP server; 0: the kernel chooses */
};

struct fleet_callbacks {
    void *arg;
    void (*up)(void *arg, const char *url); /* all have started; where the first one listens */
    void (*failed)(void *arg, const struct rota_error *error); /* fleet_stop() is the caller's */
    void (*stopped)(void *arg);
};

struct fleet *fleet_new(const struct fleet_config *config, const struct fleet_callbacks *callbacks);
void fleet_free(struct fleet *fleet); /* NULL is fine; no node may be left */

void fleet_start(struct fleet *fleet);
/* Sends the signal to every node; the first call ends restarts. `stopped` follows, maybe at once.
 */
void fleet_stop(struct fleet *fleet, int signal);

#endif
