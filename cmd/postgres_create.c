/* Making the data directory of the private PostgreSQL: initdb, the database, and its way to the
 * disk. */
#include "cmd/private_postgres_int.h"

#include "base/memory.h"
#include "cmd/child.h"
#include "cmd/data_directory.h"
#include "cmd/postgres_files.h"

#include <signal.h>
#include <stdlib.h>

static void on_database_made(void *arg, int status)
{
    struct private_postgres *postgres = arg;
    struct rota_error error;
    postgres->child = NULL;
    if (postgres->state == STOPPING) {
        private_postgres_end(postgres, NULL);
    } else if (status != 0) {
        private_postgres_end_with_log(postgres, "cannot create the database");
    } else if (postgres_mark_unsynced(postgres->directory, &error) != 0 ||
               data_directory_rename(postgres->draft, postgres->data, &error) != 0) {
        private_postgres_end(postgres, &error);
    } else {
        postgres->created = true;
        private_postgres_start_server(postgres);
    }
}

/* A server without network and with one statement on its stdin. */
static void on_initdb_ended(void *arg, int status)
{
    struct private_postgres *postgres = arg;
    struct rota_error error;
    char *program = mem_format("%s/postgres", postgres->binaries.directory);
    const char *argv[] = {program, "--single",         "-F",        "-D", postgres->draft,
                          "-c",    "exit_on_error=on", "template1", NULL};
    postgres->child = NULL;
    postgres_remove_password_copy(postgres->directory);
    if (postgres->state == STOPPING) {
        private_postgres_end(postgres, NULL);
    } else if (status != 0) {
        private_postgres_end_with_log(postgres, "initdb failed");
    } else {
        postgres->child = private_postgres_run(postgres, argv, "CREATE DATABASE rota;\n", SIGKILL,
                                               on_database_made, &error);
        if (postgres->child == NULL)
            private_postgres_end(postgres, &error);
    }
    free(program);
}

static int start_initdb(struct private_postgres *postgres, struct rota_error *error)
{
    char *file =
        postgres_password_copy(postgres->directory, postgres->password, &postgres->account, error);
    if (file == NULL)
        return -1;
    char *program = mem_format("%s/initdb", postgres->binaries.directory);
    char *password_flag = mem_format("--pwfile=%s", file);
    const char *argv[] = {
        program,       "-D", postgres->draft, "-U",          "rota",      "-A", "scram-sha-256",
        password_flag, "-E", "UTF8",          "--no-locale", "--no-sync", NULL};
    postgres->child = private_postgres_run(postgres, argv, NULL, SIGKILL, on_initdb_ended, error);
    free(password_flag);
    free(program);
    free(file);
    return postgres->child != NULL ? 0 : -1;
}

void private_postgres_create(struct private_postgres *postgres)
{
    struct rota_error error;
    private_postgres_move(postgres, CREATING);
    postgres->callbacks.busy(postgres->callbacks.arg, "creating the PostgreSQL data directory");
    if (data_directory_remove(postgres->draft, &error) != 0 ||
        postgres_make_directory(postgres->draft, &postgres->account, &error) != 0 ||
        start_initdb(postgres, &error) != 0)
        private_postgres_end(postgres, &error);
}

/* --- syncing --- */

static void on_synced(void *arg, int status)
{
    struct private_postgres *postgres = arg;
    postgres->sync = NULL;
    if (status == 0)
        postgres_mark_synced(postgres->directory);
    else if (!postgres->stop_waits)
        postgres->callbacks.warn(postgres->callbacks.arg,
                                 "the new database is not yet safe from a failure of the machine: "
                                 "initdb --sync-only failed");
    if (postgres->stop_waits)
        private_postgres_say_stopped(postgres);
}

/*
 * initdb leaves its thousand files to the kernel, as waiting for a slow disk would make the first
 * start slow. They are synced now; until then a marker says that they are not to be trusted after a
 * failure of the machine. It survives `up` (no death signal): the work is worth finishing.
 */
void private_postgres_sync(struct private_postgres *postgres)
{
    struct rota_error error;
    char *program = mem_format("%s/initdb", postgres->binaries.directory);
    const char *argv[] = {program, "--sync-only", "-D", postgres->data, NULL};
    postgres->sync = private_postgres_run(postgres, argv, NULL, 0, on_synced, &error);
    if (postgres->sync == NULL)
        postgres->callbacks.warn(postgres->callbacks.arg, error.message);
    free(program);
}
