/*
 * The subcommands: one file and one function each, in the table of main.c. A command prints what it
 * has to say and returns the exit code of the contract (enum error_code). Each answers `--help`.
 */
#ifndef CMD_CMD_H
#define CMD_CMD_H

#include "base/error.h"

#include <stdbool.h>

struct settings;

struct command {
    const char *name;
    int (*run)(int argc, char **argv); /* argv[0] is the command's name */
    const char *summary;               /* for `rota --help`; NULL: hidden */
};

int cmd_up(int argc, char **argv);
int cmd_node(int argc, char **argv);
int cmd_migrate(int argc, char **argv);
int cmd_apply(int argc, char **argv);
int cmd_get(int argc, char **argv);
int cmd_enqueue(int argc, char **argv);
int cmd_fire(int argc, char **argv);
int cmd_cancel(int argc, char **argv);
int cmd_retry(int argc, char **argv);
int cmd_discard(int argc, char **argv);
int cmd_pause(int argc, char **argv);
int cmd_resume(int argc, char **argv);
int cmd_reset(int argc, char **argv);
int cmd_reschedule(int argc, char **argv);
int cmd_delete(int argc, char **argv);
int cmd_drain(int argc, char **argv);
int cmd_standby(int argc, char **argv);
int cmd_resume_node(int argc, char **argv);
int cmd_doctor(int argc, char **argv);
int cmd_top(int argc, char **argv);
int cmd_evict(int argc, char **argv);
int cmd_explain(int argc, char **argv);
int cmd_lock(int argc, char **argv);
int cmd_cron(int argc, char **argv);
int cmd_settings(int argc, char **argv);
int cmd_bench(int argc, char **argv);
int cmd_bench_worker(int argc, char **argv);
int cmd_token(int argc, char **argv);
int cmd_version(int argc, char **argv);

/* One line on stderr: "rota COMMAND: what, where, what would be right". Returns error->code. */
int cmd_fail(const char *command, const struct rota_error *error);
int cmd_usage(const char *command, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* An argument nobody took: usage, with the nearest of the command's own options and its settings.
 */
int cmd_unknown(const char *command, const char *argument, const char *const *own_options,
                unsigned setting_scope);

/* -h or --help among the arguments, before any `--`. */
bool cmd_wants_help(int argc, char **argv);

/*
 * Tries argv[*i] as the option `name` ("--count") with a value, `--count 3` or `--count=3`.
 * 1: taken, *i is at its last word. 0: something else. -1: the value is missing (ERROR_USAGE).
 */
int cmd_option(int argc, char **argv, int *i, const char *name, const char **ret_value,
               struct rota_error *error);

#endif
