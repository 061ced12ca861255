/*
 * What the commands that talk to the database share: their connection, found by the settings, and the
 * checks before the first statement. Straight-line code: a command waits for its answers.
 */
#ifndef CMD_CLIENT_H
#define CMD_CLIENT_H

#include "base/error.h"
#include "cmd/cmd.h"
#include "store/store.h"

struct settings;

struct client {
    struct event_base *base;
    struct store *store;
    struct log log;
    char *url;
    const char *schema;
};

/* 0, or -1 with nothing to close. */
int client_connect(struct client *client, const char *command, const struct settings *settings, struct rota_error *error);
/* The same, and refuses a database without rota's schema, or with one too new. */
int client_open(struct client *client, const char *command, const struct settings *settings, struct rota_error *error);
void client_close(struct client *client);

#endif
