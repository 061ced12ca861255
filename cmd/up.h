/*
 * The life of `rota up`: a private PostgreSQL (or the one of --database-url), the schema, the
 * manifests, N nodes, and what they do on the terminal. Ctrl-C walks it back: nodes drain, then
 * PostgreSQL stops.
 */
#ifndef CMD_UP_H
#define CMD_UP_H

#include <stdbool.h>

#define UP_MANIFESTS_MAX 1000

struct settings;

struct up_options {
    struct settings *settings; /* loaded */
    const char *manifests[UP_MANIFESTS_MAX];
    int manifest_count;
    int node_count;
    int port; /* of the first node's HTTP server; 0: any free one */
    bool json;
};

/* Everything, until it was stopped or has failed. Returns the exit code. */
int up_run(const struct up_options *options);

#endif
