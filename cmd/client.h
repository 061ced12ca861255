/*
 * What the commands that talk to the database share: their connection, found by the settings, and
 * the checks before the first statement. Straight-line code: a command waits for its answers.
 */
#ifndef CMD_CLIENT_H
#define CMD_CLIENT_H

#include "base/error.h"
#include "cmd/cmd.h"
#include "coord/audit.h"
#include "store/store.h"

struct settings;

struct client {
    struct event_base *base;
    struct store *store;
    struct log log;
    char *url;
    const char *session_url; /* a node's session connection; NULL: url, too */
    const char *schema;
    int version;                                      /* of the schema; 0: not looked at */
    void (*notified)(void *arg, const char *payload); /* NULL: nobody listens */
    void *notified_arg;
};

/* For commands with work to do before: connects and checks the schema. 0, or -1 with nothing to
 * close. */
int client_open(struct client *client, const char *command, const struct settings *settings,
                struct rota_error *error);
/* Of what failed with an undefined column or function: that the schema is older than this rota. */
void client_explain_schema(const struct client *client, struct rota_error *error);
void client_close(struct client *client);

/*
 * A command that talks to the database and nothing else: its help, its options, what it does. An
 * argument that none of its options takes is a word (or refused), then a setting.
 */
/* `once` of commands that queue a run. */
#define CLIENT_RUN_ONCE                                                                            \
    "the connection was lost before the answer came: the run may be queued or not; see "           \
    "`rota get runs` and `rota get history` before you ask for it again"

struct client_command {
    const char *name;
    const char *help;
    const char *const *own; /* its options, NULL-terminated: for "did you mean" */
    unsigned scope;         /* settings it takes; 0: SCOPE_CLIENT */
    bool any_schema;        /* works on a database without rota's schema, too */
    bool session;           /* with any_schema: needs locks that stay, so the session connection */
    const char *once; /* to be said where it may be done or not, as doing it again adds to it */
    /* argv[*i]: 1 taken, 0 not an option of this command, -1 wrong. NULL: it has none. */
    int (*take)(int argc, char **argv, int *i, void *options, struct rota_error *error);
    /* A word that is no option: 0, or -1. NULL: there are none. */
    int (*word)(const char *word, void *options, struct rota_error *error);
    /* All arguments are read: 0, or -1 with what is missing. NULL: nothing can be. */
    int (*check)(void *options, struct rota_error *error);
    int (*run)(struct client *client, void *options, struct rota_error *error);
};

/* Reads the arguments, connects, runs, closes. The exit code. */
int client_main(const struct client_command *command, void *options, int argc, char **argv);

/* What the audit says of a command: who did it is the role of its session. */
struct audit client_audit(const struct client *client, const char *action, const char *noun,
                          const char *name);
/* Whether the schema has an audit: it may be older than this rota. */
bool client_audits(const struct client *client);

/*
 * A statement that changes something, with its row in the audit, in one transaction; nothing is
 * written of what is not there. audit->noun NULL: a trigger, or else a job.
 */
int client_act(struct client *client, enum statement_id statement,
               const struct store_params *params, struct audit *audit, PGresult **ret_result,
               struct rota_error *error);

/* client_act() on runs: on the first of them, with all of them as what was asked for. */
int client_act_runs(struct client *client, const char *action, enum statement_id statement,
                    const struct store_params *params, const int64_t *runs, size_t count,
                    PGresult **ret_result, struct rota_error *error);

/*
 * The same for statements that need the definitions to themselves: while an apply has them (55P03)
 * it is asked again, for wait_us at most (0: APPLY_WAIT_US), then ERROR_TIMEOUT.
 */
int client_wait_turn(struct client *client, enum statement_id statement,
                     const struct store_params *params, struct audit *audit, int64_t wait_us,
                     PGresult **ret_result, struct rota_error *error);

/* One turn of the loop; waits until there is something to do. */
void client_turn(struct client *client);

/* Runs the loop for so long. */
void client_pause(struct client *client, int64_t duration_us);

/* ERROR_NOT_FOUND: no "trigger", "job" or "node" is called so, with the name that is nearest.
 * Returns -1.
 */
int client_unknown(struct client *client, const char *noun, const char *name,
                   struct rota_error *error);

/* What a function of the schema refuses, it says in words for users: without the statement's name.
 */
void client_plain(struct rota_error *error);

/* A duration of an option that is not 0. 0 or -1. */
int client_duration(const char *option, const char *text, int64_t *ret_duration_us,
                    struct rota_error *error);

/* Whole numbers of an option, with what would be right. 0 or -1. */
int client_number(const char *option, const char *text, int64_t low, int64_t high,
                  int64_t *ret_number, struct rota_error *error);

#endif
