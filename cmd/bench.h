/*
 * What the benches share: a scratch schema of their own that goes when they end, the fleet of real
 * nodes on it, counters of the server, the figures that come out. Each bench is a file bench_*.c.
 *
 * A bench lives as long as its session lock; what a dead one has left behind, the next one drops.
 */
#ifndef CMD_BENCH_H
#define CMD_BENCH_H

#include "cmd/client.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct bench_fleet;
struct children;
struct terminal;

#define BENCH_NODES_MAX 64
#define BENCH_JOB       "bench"

struct bench_options {
    int64_t runs, triggers, nodes, slots, seconds, repeat; /* 0: not said */
    bool single, saturate, load, json;
};

struct bench {
    const struct bench_options *options;
    struct client *outer; /* the database as it is; its session holds the lock */
    struct client client; /* on the scratch schema */
    char schema[40];
    char *self; /* path of this binary */
    bool made;
    int signal; /* that asked us to stop */
    struct event *signals[3];
    struct children *children;
    struct bench_fleet *fleet;
    struct terminal *terminal; /* NULL: nobody looks */
};

/* 0, or -1 with nothing to close. */
int bench_open(struct bench *bench, struct client *outer, const struct bench_options *options,
               struct rota_error *error);
/* Ends the nodes and drops the schema. 0, or -1 where it could not: what is left is named. */
int bench_close(struct bench *bench, struct rota_error *error);

/* One more connection, on a schema; store_free(client->store) ends it. 0 or -1. */
int bench_connect(struct bench *bench, const char *schema, struct client *client,
                  struct rota_error *error);
/* -1 where there is no use in going on: Ctrl-C, or a node that has ended. */
int bench_goes_on(struct bench *bench, struct rota_error *error);
/* What is being done, for people. */
void bench_doing(struct bench *bench, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void bench_done(struct bench *bench); /* nothing is being done: figures may be printed */
/* A statement of a bench; frees the parameters (NULL: none). 0 or -1. */
int bench_ask(struct bench *bench, enum statement_id statement, struct store_params *params,
              PGresult **ret_result, struct rota_error *error);
/* Lets the loop run for so long. 0, or -1 as bench_goes_on(). */
int bench_pause(struct bench *bench, int64_t duration_us, struct rota_error *error);
/* Texts of manifests, taken: {"source":…}. 0 or -1. */
int bench_apply(struct bench *bench, char **texts, size_t count, struct rota_error *error);
/* Waits until no run is waiting or claimed. ERROR_REFUSED after a minute for `runs` and more. */
int bench_wait_empty(struct bench *bench, size_t runs, struct rota_error *error);

/* ---- the nodes (bench_fleet.c) ---- */

struct bench_fleet_options {
    int count;
    bool standby;        /* they wait for bench_fleet_tell("run") */
    bool one_by_one;     /* each alone, so that its start can be measured */
    const char *pools;   /* JSON; NULL: the built-in worker alone */
    const char *handler; /* they are ready when they serve it */
};

/* Starts them and waits until they are ready. 0 or -1. */
int bench_fleet_start(struct bench *bench, const struct bench_fleet_options *options,
                      struct rota_error *error);
/* "run" or "standby": tells each node and waits until it is so. */
int bench_fleet_tell(struct bench *bench, const char *wish, struct rota_error *error);
/* SIGTERM, then SIGKILL for what does not end. Nothing to do: fine. */
void bench_fleet_stop(struct bench *bench);
void bench_fleet_free(struct bench_fleet *fleet);
/* -1 if a node has ended that nobody has stopped. */
int bench_fleet_check(const struct bench_fleet *fleet, struct rota_error *error);
int bench_fleet_count(const struct bench_fleet *fleet);
pid_t bench_fleet_pid(const struct bench_fleet *fleet, int node);
/* From exec() to ready: the slowest. */
int64_t bench_fleet_start_us(const struct bench_fleet *fleet);

/* ---- the benches: 0 with the figures printed, or -1 ---- */
int bench_drain(struct bench *bench, struct rota_error *error);
int bench_tick(struct bench *bench, struct rota_error *error);
int bench_latency(struct bench *bench, struct rota_error *error);
int bench_idle(struct bench *bench, struct rota_error *error);

#endif
