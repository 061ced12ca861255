/*
 * Inside the built-in worker only: what its handlers share. One process, one loop, many runs at
 * once; a handler answers when it is ready and never blocks. Everything here may be called from any
 * event of the loop.
 */
#ifndef WORKER_BUILTIN_BUILTIN_H
#define WORKER_BUILTIN_BUILTIN_H

#include "worker/builtin/settings.h"
#include "worker/channel.h"
#include "worker/protocol.h"

#include "base/buffer.h"
#include "base/list.h"

#include <event2/event.h>
#include <stdbool.h>
#include <stdint.h>

struct http_client;
struct resolver;

struct builtin {
    struct event_base *base;
    struct channel channel;
    struct event *turn; /* answers of one turn go out together */
    struct list tasks;  /* struct task */
    size_t task_count;
    int64_t slots;
    int64_t grace_us; /* between a cancel and SIGKILL */
    const char *name, *node;
    const char **allow;       /* patterns for exec, NULL-terminated */
    const char **environment; /* what exec hands on of its own, NULL-terminated */
    struct builtin_settings settings;
    struct http_client *http;  /* NULL until it is needed */
    struct resolver *resolver; /* the same */
};

/* A run that has not been answered yet. The first member of what a handler keeps of it. */
struct task {
    struct list all;
    struct builtin *builtin;
    const struct builtin_handler *handler;
    int64_t id, fence;
    void (*cancel)(struct task *task, struct slice reason); /* it answers soon */
    void (*abandon)(struct task *task);                     /* ends what it started; no answer */
};

struct builtin_handler {
    const char *name;
    /* Answers at once, or keeps a task. The message is gone when this returns. */
    void (*start)(struct builtin *builtin, const struct protocol_message *message);
};

extern const struct builtin_handler cleanup_handler, exec_handler, http_handler, noop_handler,
    sql_handler;

/* The callbacks and the handler are set already. */
void task_open(struct task *task, struct builtin *builtin, const struct protocol_message *message);
void task_close(struct task *task);

/* A JSON string of any bytes: zero bytes, which PostgreSQL cannot store, become U+FFFD, too. */
void builtin_text(struct buffer *out, const char *text, size_t length);

struct builtin_failure {
    const char *exception; /* one short line */
    struct slice message;
    struct slice details; /* JSON or absent */
    bool final;           /* another attempt would end the same way */
};

void builtin_done(struct builtin *builtin, int64_t id, int64_t fence, struct slice details);
void builtin_fail(struct builtin *builtin, int64_t id, int64_t fence,
                  const struct builtin_failure *failure);

#endif
