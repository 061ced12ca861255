/*
 * Migrations: forward only, each a script of sql/schema/ run as one transaction, one node at a time
 * under a session advisory lock that is tried, never waited for inside the server.
 */
#include "store/connection.h"

#include "base/clock.h"
#include "base/memory.h"

#include <ctype.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>

#define LOCK_RETRY_US (100 * US_PER_MS)

static bool is_word(char c)
{
    return isalnum((unsigned char)c) || c == '_';
}

char *store_with_schema(const char *text, const char *schema)
{
    struct buffer out = {0};
    for (const char *at = text; *at != '\0';) {
        if (strncmp(at, "rota", 4) == 0 && (at == text || !is_word(at[-1])) && !is_word(at[4])) {
            buffer_string(&out, schema);
            at += 4;
        } else {
            buffer_char(&out, *at++);
        }
    }
    buffer_char(&out, '\0');
    return out.data;
}

static int read_version(struct store *store, int *ret_version, int *ret_needs,
                        struct rota_error *error)
{
    PGresult *result;
    if (store_wait(store, SQL_SCHEMA_VERSION, NULL, 0, &result, error) != 0)
        return -1;
    *ret_version = row_int32(result, 0, 0);
    *ret_needs = row_int32(result, 0, 1);
    PQclear(result);
    return 0;
}

static int refuse_newer(int version, int needs, struct rota_error *error)
{
    if (needs <= migration_count)
        return 0;
    return error_set(
        error, ERROR_REFUSED,
        "the schema is too new for this rota: it is at version %d and needs a binary that knows "
        "version %d, this one knows %d; run a newer rota",
        version, needs, migration_count);
}

int store_check_schema(struct store *store, int *ret_version, struct rota_error *error)
{
    PGresult *result;
    int needs;
    if (store_wait(store, SQL_SCHEMA_PRESENT, NULL, 0, &result, error) != 0)
        return -1;
    bool present = row_bool(result, 0, 0);
    PQclear(result);
    if (!present) {
        *ret_version = 0;
        return 0;
    }
    if (read_version(store, ret_version, &needs, error) != 0)
        return -1;
    return refuse_newer(*ret_version, needs, error);
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    *(bool *)arg = true;
}

static void pause_loop(struct store *store, int64_t duration_us)
{
    bool over = false;
    struct timeval pause = clock_timeval(duration_us);
    struct event *timer = evtimer_new(store->config.base, on_tick, &over);
    evtimer_add(timer, &pause);
    while (!over)
        event_base_loop(store->config.base, EVLOOP_ONCE);
    event_free(timer);
}

/* The lock, and whether there is a schema already. */
static int lock(struct store *store, const bool *stop, bool *ret_present, struct rota_error *error)
{
    for (;;) {
        PGresult *result;
        if (store_wait(store, SQL_MIGRATE_LOCK, NULL, 0, &result, error) != 0)
            return -1;
        bool locked = row_bool(result, 0, 0);
        *ret_present = row_bool(result, 0, 1);
        PQclear(result);
        if (locked)
            return 0;
        if (stop != NULL && *stop)
            return error_set(error, ERROR_REFUSED,
                             "stopped while another node migrates the schema");
        pause_loop(store, LOCK_RETRY_US);
    }
}

static int apply(struct store *store, const char *schema, const struct migration *migration,
                 struct rota_error *error)
{
    char *text = store_with_schema(migration->text, schema);
    int failed = store_wait_script(store, text, error);
    free(text);
    if (failed != 0)
        error_prefix(error, "migration %s", migration->name);
    return failed;
}

int store_migrate(struct store *store, const char *schema, const bool *stop,
                  struct migrate_result *ret_result, struct rota_error *error)
{
    bool present;
    int version = 0, needs = 0;
    if (lock(store, stop, &present, error) != 0)
        return -1;
    int failed = present ? read_version(store, &version, &needs, error) : 0;
    if (failed == 0)
        failed = refuse_newer(version, needs, error);
    struct migrate_result done = {version, version};
    for (int i = 0; i < migration_count && failed == 0; i++) {
        if (migrations[i].version <= version)
            continue;
        failed = apply(store, schema, &migrations[i], error);
        if (failed == 0)
            done.to = migrations[i].version;
    }
    struct rota_error ignored; /* a lost connection has released the lock by itself */
    store_wait(store, SQL_MIGRATE_UNLOCK, NULL, 0, NULL, &ignored);
    if (failed == 0)
        *ret_result = done;
    return failed;
}
