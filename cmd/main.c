/* The `rota` binary: finds the subcommand in one table and runs it. */
#include "cmd/cmd.h"

#include "base/text.h"
#include "worker/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

static int cmd_help(int argc, char **argv);

static const struct command commands[] = {
    {"up", cmd_up, "everything on one machine: PostgreSQL, schema, manifests, nodes"},
    {"node", cmd_node, "one replica, for production"},
    {"migrate", cmd_migrate, "create or upgrade the schema"},
    {"apply", cmd_apply, "register jobs, triggers and calendars from manifests"},
    {"get", cmd_get, "list jobs, triggers, runs, nodes, history, lanes"},
    {"enqueue", cmd_enqueue, "queue a run of a job"},
    {"fire", cmd_fire, "one extra firing of a trigger or a job, now"},
    {"cancel", cmd_cancel, "end runs: those that wait at once, those that run soon"},
    {"retry", cmd_retry, "run finished runs again, or all that failed"},
    {"discard", cmd_discard, "failed runs are not asked for again"},
    {"pause", cmd_pause, "stop a trigger, a job, a source or all"},
    {"resume", cmd_resume, "let it go on"},
    {"reset", cmd_reset, "take triggers out of error"},
    {"reschedule", cmd_reschedule, "a new schedule for a trigger"},
    {"delete", cmd_delete, "delete a job or a trigger"},
    {"drain", cmd_drain, "a node stops, and lets its runs finish"},
    {"standby", cmd_standby, "a node takes nothing more, and stays"},
    {"resume-node", cmd_resume_node, "it fires again"},
    {"evict", cmd_evict, "a node is declared dead, now"},
    {"explain", cmd_explain, "why a run or a trigger has not run"},
    {"top", cmd_top, "nodes, rates, what waits, runs and fails, drawn again and again"},
    {"doctor", cmd_doctor, "what hurts, or will: server, connections, nodes, work"},
    {"bench", cmd_bench, "measure this installation, on a scratch schema"},
    {"lock", cmd_lock, "run a command under a cluster lock"},
    {"cron", cmd_cron, "explain a cron expression and list its next occurrences"},
    {"token", cmd_token, "tokens of the HTTP API: create, list, revoke"},
    {"settings", cmd_settings, "all settings, their values and where they came from"},
    {"version", cmd_version, "the version of this program"},
    {"help", cmd_help, "help on a command"},
    {"bench-worker", cmd_bench_worker, NULL},
    {"guard", guard_main, NULL},
    {"worker", builtin_worker_main, NULL},
};

#define COMMAND_COUNT (sizeof commands / sizeof *commands)

static const struct command *find_command(const char *name)
{
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    return NULL;
}

static void print_commands(FILE *out)
{
    fputs("rota: schedules and queued jobs on a fleet of nodes that share a PostgreSQL.\n\n"
          "Usage: rota COMMAND [ARGUMENTS]\n\n",
          out);
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        if (commands[i].summary != NULL)
            fprintf(out, "  %-12s %s\n", commands[i].name, commands[i].summary);
    fputs(
        "\n`rota COMMAND --help` says more. Try: rota up -f deploy/examples/hello.json --nodes 3\n"
        "Exit status: 0 done, 1 refused or failed, 2 wrong call, 3 database out of reach,\n"
        "4 not found, 5 a lock or wait timed out.\n",
        out);
}

static int unknown_command(const char *name)
{
    const char *names[COMMAND_COUNT];
    size_t count = 0;
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        if (commands[i].summary != NULL)
            names[count++] = commands[i].name;
    const char *nearest = text_nearest(name, names, count);
    fprintf(stderr, "rota: unknown command \"%s\"%s%s%s\n", name,
            nearest != NULL ? ": did you mean `rota " : ": `rota --help` lists all",
            nearest != NULL ? nearest : "", nearest != NULL ? "`?" : "");
    return ERROR_USAGE;
}

static int cmd_help(int argc, char **argv)
{
    if (argc < 2 || cmd_wants_help(argc, argv)) {
        print_commands(stdout);
        return 0;
    }
    const struct command *command = find_command(argv[1]);
    if (command == NULL || command->summary == NULL)
        return unknown_command(argv[1]);
    char help[] = "--help";
    if (command->run == cmd_help)
        return cmd_help(1, argv);
    return command->run(2, (char *[]){argv[1], help, NULL});
}

/* Standard input, output and error exist, so that no file or socket ever takes their numbers. */
static void ensure_standard_files(void)
{
    int fd;
    do
        fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd > STDERR_FILENO)
        close(fd);
}

int main(int argc, char **argv)
{
    ensure_standard_files();
    signal(SIGPIPE, SIG_IGN);
    prctl(PR_SET_NAME, "rota"); /* guard and workers are started as /proc/self/exe */
    if (argc < 2) {
        print_commands(stderr);
        return ERROR_USAGE;
    }
    const char *name = argv[1];
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
        name = "help";
    else if (strcmp(name, "--version") == 0)
        name = "version";
    const struct command *command = find_command(name);
    if (command == NULL)
        return unknown_command(name);
    int code = command->run(argc - 1, argv + 1);
    if (fflush(stdout) != 0 && errno != EPIPE) {
        fprintf(stderr, "rota %s: cannot write the output: %s\n", name, strerror(errno));
        return code != 0 ? code : ERROR_REFUSED;
    }
    return code;
}
