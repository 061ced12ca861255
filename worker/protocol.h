/*
 * Worker protocol 1: one JSON object a line, both ways. Reading is a pure function from bytes to a
 * struct; users' JSON stays a slice of the line, byte for byte. Unknown types and fields are
 * ignored, a known field of the wrong type is an error.
 */
#ifndef WORKER_PROTOCOL_H
#define WORKER_PROTOCOL_H

#include "worker/worker_run.h"

#include "base/buffer.h"
#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PROTOCOL_VERSION      1
#define PROTOCOL_LINE_MAX     (1024 * 1024) /* with its newline: what a coordinator must buffer */
#define PROTOCOL_HANDLERS_MAX 256           /* of one worker; the same for aliases */
#define PROTOCOL_SLOTS_MAX    10000         /* of one worker */
#define PROTOCOL_TEXTS_MAX    16            /* decoded texts of one message */
/* A longer time counts as this one: 100 years, so that it can be added to any clock. */
#define PROTOCOL_DURATION_MAX_US (INT64_C(36500) * 86400 * 1000000)

enum protocol_type {
    PROTOCOL_UNKNOWN, /* ignored */
    /* the worker says */
    PROTOCOL_HELLO,
    PROTOCOL_DONE,
    PROTOCOL_FAIL,
    PROTOCOL_PROGRESS,
    PROTOCOL_CHECKPOINT,
    PROTOCOL_LOG,
    PROTOCOL_SNOOZE,
    PROTOCOL_REFUSE,
    PROTOCOL_LOCK,
    PROTOCOL_UNLOCK,
    /* the coordinator says */
    PROTOCOL_WELCOME,
    PROTOCOL_RUN,
    PROTOCOL_CANCEL,
    PROTOCOL_DRAIN,
    PROTOCOL_LEASE,
};

/* Texts are decoded; in one that holds U+0000, which nothing can store, escapes stay as written. */
struct protocol_message {
    enum protocol_type type;
    struct slice line; /* all of it */
    int64_t id, fence, ref;
    int64_t protocol, slots, attempt, missed;
    int64_t duration_us; /* `for`, `wait`, `grace`; -1: not given */
    double fraction;
    bool retry; /* true unless the worker says false */
    bool unschedule, shared, recovering, honours_lease;
    bool has_run;                                    /* of lock: id and fence are given */
    struct slice data, details, stacktrace, ex_data; /* JSON; `null` counts as absent */
    struct slice job, handler, trigger, fire_time, scheduled_time, traceparent;
    struct slice scope; /* of lock */
    struct slice name, version, token, exception, message, reason, level;
    char **handlers; /* NULL-terminated; of hello */
    size_t handler_count;
    struct worker_alias *aliases; /* of hello: its handlers' earlier names */
    size_t alias_count;
    char *texts[PROTOCOL_TEXTS_MAX]; /* owned: what slices above point to when not to the line */
    size_t text_count;
};

/*
 * Reads one line, without its newline, which must outlive the message. 0, or -1 with what is wrong;
 * protocol_free() is due after 0 only.
 */
int protocol_parse(const char *line, size_t length, struct protocol_message *ret_message,
                   struct rota_error *error);
void protocol_free(struct protocol_message *message);

/*
 * Each appends one line. Line breaks between the tokens of users' JSON become spaces, as a line
 * is one message; nothing else of it changes. `deadline_us`: wall clock, 0: none.
 */
void protocol_write_run(struct buffer *out, const struct worker_run *run, int64_t deadline_us);
void protocol_write_welcome(struct buffer *out, const char *node);
void protocol_write_cancel(struct buffer *out, int64_t id, int64_t fence, const char *reason);
void protocol_write_drain(struct buffer *out, int64_t grace_us);
void protocol_write_lease(struct buffer *out, int64_t valid_us, int64_t ref); /* ref 0: none */
void protocol_write_refused(struct buffer *out, const char *reason);          /* the last line */
void protocol_write_locked(struct buffer *out, int64_t ref, int64_t fence);
void protocol_write_lock_failed(struct buffer *out, int64_t ref, const char *message);
void protocol_write_lock_lost(struct buffer *out, int64_t ref);

/* Users' JSON with its line breaks as spaces. */
void protocol_write_json(struct buffer *out, struct slice json);

#endif
