/*
 * Queueing runs of a job, one or a hundred thousand: what `rota enqueue` asks for, in batches of
 * one transaction, so that all of it is there or nothing.
 */
#ifndef CMD_ENQUEUE_H
#define CMD_ENQUEUE_H

#include "base/buffer.h"
#include "cmd/client.h"

#define ENQUEUE_RUNS_MAX 100000        /* of one call */
#define ENQUEUE_DATA_MAX (256u << 10)  /* bytes of one run: a claim carries it to a worker */
#define ENQUEUE_TEXT_MAX (1024u << 20) /* bytes of all of them: they are read first */

struct enqueue {
    const char *job;
    int64_t at_us; /* STORE_NULL_TIME: after in_us */
    int64_t in_us;
    int64_t priority;        /* 0: the job's */
    const char *key;         /* NULL: what the job says */
    const char *on_conflict; /* NULL: what the job says */
    int64_t *after;
    size_t after_count;
    bool after_any;
    int64_t expires_us; /* 0: what the job says */
    const char *traceparent;
    bool watched;
};

/* Data of runs: each its own line of a text, or all the same. */
struct enqueue_data {
    struct buffer text;
    struct slice *items; /* NULL: all like `same` */
    size_t *lines;       /* where each came from */
    struct slice same;   /* absent: none */
    size_t count;
};

struct enqueue_answer {
    int64_t run;
    char conflict[12]; /* "": there was none */
};

/* Reads one JSON object a line to the end of the file. Blank lines are passed over. ERROR_REFUSED
 * with line and column for what is no such object. */
int enqueue_read(int fd, struct enqueue_data *ret_data, struct rota_error *error);
void enqueue_data_free(struct enqueue_data *data);

/* Checks one object; `what` names it. */
int enqueue_check_data(struct slice text, const char *what, enum error_code code,
                       struct rota_error *error);

/*
 * Queues them all. ret_answers, one for each, is to be freed. Nothing is queued with -1:
 * ERROR_NOT_FOUND (job, or a run to wait for), ERROR_REFUSED (a key is taken and on_conflict says
 * reject, the queue is full, …), ERROR_TIMEOUT (a key is in the hands of an open transaction).
 */
int enqueue_runs(struct client *client, const struct enqueue *enqueue,
                 const struct enqueue_data *data, struct enqueue_answer **ret_answers,
                 struct rota_error *error);

#endif
