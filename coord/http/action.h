/*
 * Actions: requests that change something. They run one after the other on a thread of their own,
 * as straight-line code like that of the commands, on a connection that is opened for the first
 * and closed when there have been none for a while. Each is one transaction, with its row in the
 * audit.
 */
#ifndef COORD_HTTP_ACTION_H
#define COORD_HTTP_ACTION_H

#include "base/buffer.h"
#include "base/error.h"
#include "coord/audit.h"
#include "coord/http/web.h"

struct event_base;
struct store;

#define WEB_ACTIONS_MAX 64 /* waiting; then clients are told to come back */

/* One action on its thread: what was asked, and the answer it is to fill. */
struct web_act {
    struct store *store;
    struct event_base *base;
    const bool *stop;
    const char *name; /* the word of the path with a colon; NULL: none */
    struct slice body;
    struct buffer answer; /* JSON */
    struct audit audit;   /* who, address, node and request are set */
};

/* 0 with the answer, or -1 with an error as the command would end with it. */
typedef int (*web_act_function)(struct web_act *act, struct rota_error *error);

/* For handlers: hands the request over. The answer is sent when it is done. */
void web_action(struct web_request *request, web_act_function function);

/* The frame of an action that is one statement: begins with the audit, ends with it. */
int web_act_begin(struct web_act *act, const char *action, const char *noun, const char *name,
                  struct rota_error *error);
int web_act_end(struct web_act *act, struct rota_error *error);
/* After a failure in between: the transaction is ended, if the store has not done so. Returns -1.
 */
int web_act_abort(struct web_act *act, const struct rota_error *error);

#endif
