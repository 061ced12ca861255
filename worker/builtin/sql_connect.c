/*
 * How the handler `sql` connects. libpq resolves names blocking, which would stop every other run,
 * so names are resolved here and go to libpq as addresses beside their names. The server is told to
 * notice quickly when this worker is gone: what it executes for a dead run ends with it.
 */
#include "worker/builtin/sql.h"

#include "worker/builtin/http_target.h"
#include "worker/builtin/resolve.h"

#include "base/clock.h"
#include "base/memory.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HOSTS_MAX    16 /* of a connection string */
#define KEYWORDS_MAX 64

struct sql_hosts {
    struct sql *sql;
    struct resolve *resolve;
    int at, count;                         /* the one being resolved, of how many */
    int entries;                           /* of the lists below */
    struct buffer names, addresses, ports; /* as libpq wants them: with commas between */
    char error[300];
};

static const char *option(const struct sql *sql, const char *keyword, const char *variable)
{
    for (const PQconninfoOption *o = sql->options; o->keyword != NULL; o++)
        if (strcmp(o->keyword, keyword) == 0 && o->val != NULL)
            return o->val;
    const char *value = variable != NULL ? getenv(variable) : NULL;
    return value != NULL ? value : "";
}

/* The n-th entry of a list with commas, to be freed; of a list of one, that one. */
static char *entry(const char *list, int n, bool repeats)
{
    if (repeats && strchr(list, ',') == NULL)
        return mem_string(list);
    for (; n > 0 && list != NULL; n--) {
        list = strchr(list, ',');
        list = list != NULL ? list + 1 : NULL;
    }
    return list != NULL ? mem_string_n(list, strcspn(list, ",")) : mem_string("");
}

int sql_hosts_new(struct sql *sql, struct rota_error *error)
{
    char *message = NULL;
    sql->options = PQconninfoParse(sql->url, &message);
    PQfreemem(message); /* it may hold a part of the string, and so of the password */
    if (sql->options == NULL)
        return error_set(error, ERROR_REFUSED,
                         "the connection string of database \"%.100s\" cannot be read: see "
                         "PostgreSQL's manual, Connection Strings",
                         sql->request.database);
    struct sql_hosts *hosts = mem_alloc(sizeof *hosts);
    hosts->sql = sql;
    hosts->count = 1;
    for (const char *at = option(sql, "host", "PGHOST"); *at != '\0'; at++)
        hosts->count += *at == ',';
    sql->hosts = hosts;
    if (hosts->count > HOSTS_MAX)
        return error_set(error, ERROR_REFUSED, "database \"%.100s\" has more than %d hosts",
                         sql->request.database, HOSTS_MAX);
    return 0;
}

void sql_hosts_free(struct sql_hosts *hosts)
{
    if (hosts == NULL)
        return;
    resolve_cancel(hosts->resolve);
    buffer_free(&hosts->names);
    buffer_free(&hosts->addresses);
    buffer_free(&hosts->ports);
    free(hosts);
}

static void add(struct sql_hosts *hosts, const char *address)
{
    const struct sql *sql = hosts->sql;
    const char *comma = hosts->entries++ > 0 ? "," : "";
    char *name = entry(option(sql, "host", "PGHOST"), hosts->at, false);
    char *port = entry(option(sql, "port", "PGPORT"), hosts->at, true);
    buffer_format(&hosts->names, "%s%s", comma, name);
    buffer_format(&hosts->addresses, "%s%s", comma, address);
    buffer_format(&hosts->ports, "%s%s", comma, port);
    free(name);
    free(port);
}

static void resolve_next(struct sql_hosts *hosts);

static void on_addresses(void *arg, const struct resolve_answer *answer)
{
    struct sql_hosts *hosts = arg;
    char text[INET6_ADDRSTRLEN];
    hosts->resolve = NULL;
    for (size_t i = 0; i < answer->count; i++)
        add(hosts, http_address_text((const struct sockaddr *)&answer->addresses[i], text));
    if (answer->error != NULL)
        snprintf(hosts->error, sizeof hosts->error, "cannot resolve its host: %s", answer->error);
    hosts->at++;
    resolve_next(hosts);
}

/* Sockets, and addresses that the connection string has itself, are taken as they are. */
static void resolve_next(struct sql_hosts *hosts)
{
    struct sql *sql = hosts->sql;
    bool given = *option(sql, "hostaddr", "PGHOSTADDR") != '\0';
    for (; hosts->at < hosts->count && !given; hosts->at++) {
        char *name = entry(option(sql, "host", "PGHOST"), hosts->at, false);
        bool local = *name == '\0' || *name == '/' || *name == '@';
        if (local)
            add(hosts, "");
        else
            hosts->resolve = resolve_start(sql->task.builtin, name, on_addresses, hosts);
        free(name);
        if (!local)
            return;
    }
    sql_resolved(sql, hosts->entries > 0 || given ? NULL : hosts->error);
}

void sql_resolve(struct sql *sql)
{
    resolve_next(sql->hosts);
}

/* --- connection --- */

struct keywords {
    const char *keys[KEYWORDS_MAX + 1], *values[KEYWORDS_MAX + 1];
    int count;
};

/* The first word counts. */
static void set(struct keywords *keywords, const char *key, const char *value)
{
    for (int i = 0; i < keywords->count; i++)
        if (strcmp(keywords->keys[i], key) == 0)
            return;
    if (value == NULL || *value == '\0' || keywords->count == KEYWORDS_MAX)
        return;
    keywords->keys[keywords->count] = key;
    keywords->values[keywords->count++] = value;
}

static char *server_options(const struct sql *sql)
{
    int64_t left_us = sql->end_us != 0 ? sql->end_us - clock_monotonic_us() : 0;
    int64_t left_ms = left_us / US_PER_MS;
    if (sql->end_us != 0 && left_ms < 1)
        left_ms = 1;
    if (left_ms > INT32_MAX)
        left_ms = 0;
    return mem_format("%s -c statement_timeout=%lld -c tcp_keepalives_idle=1 "
                      "-c tcp_keepalives_interval=1 -c tcp_keepalives_count=3%s",
                      option(sql, "options", "PGOPTIONS"), (long long)left_ms,
                      sql->plain ? ""
                                 : " -c client_connection_check_interval=1000"
                                   " -c tcp_user_timeout=5000");
}

PGconn *sql_connect(struct sql *sql)
{
    struct keywords keywords = {0};
    char *options = server_options(sql);
    char *name = mem_format("rota run %lld", (long long)sql->task.id);
    if (sql->hosts->entries > 0) {
        set(&keywords, "host", buffer_text(&sql->hosts->names));
        set(&keywords, "hostaddr", buffer_text(&sql->hosts->addresses));
        set(&keywords, "port", buffer_text(&sql->hosts->ports));
    }
    set(&keywords, "options", options);
    set(&keywords, "client_encoding", "UTF8");
    for (const PQconninfoOption *o = sql->options; o->keyword != NULL; o++)
        set(&keywords, o->keyword, o->val);
    set(&keywords, "fallback_application_name", name);
    set(&keywords, "keepalives_idle", "3");
    set(&keywords, "keepalives_interval", "1");
    set(&keywords, "keepalives_count", "3");
    set(&keywords, "tcp_user_timeout", "5000");
    PGconn *pg = PQconnectStartParams(keywords.keys, keywords.values, 0);
    free(options);
    free(name);
    return pg;
}

bool sql_is_too_new(const struct sql *sql)
{
    const char *message = PQerrorMessage(sql->pg);
    return !sql->plain && (strstr(message, "client_connection_check_interval") != NULL ||
                           strstr(message, "tcp_user_timeout") != NULL);
}
