/*
 * The table of all settings, and what follows from a row: the names of its flag and its environment
 * variable, and its help. How values are read is not here: settings.c.
 */
#include "cmd/settings_value.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "worker/listener.h"

#include <arpa/inet.h>
#include <assert.h>
#include <ctype.h>
#include <string.h>

#define MILLISECOND US_PER_MS
#define SECOND      US_PER_SECOND
#define HOUR        (3600 * SECOND)
#define DAY         (24 * HOUR)

static bool is_identifier(const char *text, size_t length_max)
{
    size_t length = strlen(text);
    if (length == 0 || length > length_max || isdigit((unsigned char)text[0]))
        return false;
    return strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789_") == length;
}

/* 40 leaves room for what is put after the name within PostgreSQL's 63 bytes. */
static int check_identifier(const char *text, struct rota_error *error)
{
    if (is_identifier(text, 40))
        return 0;
    return error_set(error, ERROR_REFUSED,
                     "\"%s\" is refused: write a lower-case letter or _, then up to 39 lower-case "
                     "letters, digits or _",
                     text);
}

static int check_node_name(const char *text, struct rota_error *error)
{
    size_t length = strlen(text);
    for (size_t i = 0; i < length; i++)
        if (!isalnum((unsigned char)text[i]) && strchr("._-:@", text[i]) == NULL)
            return error_set(error, ERROR_REFUSED,
                             "\"%s\" is refused: a name has letters, digits and . _ - : @ only",
                             text);
    if (length == 0 || length > 64)
        return error_set(error, ERROR_REFUSED, "a name has 1 to 64 characters, this one %zu",
                         length);
    return 0;
}

static bool is_port(const char *text)
{
    int64_t port;
    return text_int64(text, strlen(text), &port) == 0 && port >= 0 && port <= 65535 &&
           isdigit((unsigned char)*text);
}

/* Host (an IPv6 address in brackets) and port, as libevent and curl write it. */
static int check_listen(const char *text, struct rota_error *error)
{
    if (strcmp(text, "none") == 0)
        return 0;
    const char *colon = strrchr(text, ':');
    char host[256];
    size_t length = colon != NULL ? (size_t)(colon - text) : 0;
    if (length > 0 && length < sizeof host && is_port(colon + 1)) {
        memcpy(host, text, length);
        host[length] = '\0';
        unsigned char address[16];
        if (host[0] == '[' && host[length - 1] == ']') {
            host[length - 1] = '\0';
            if (inet_pton(AF_INET6, host + 1, address) == 1)
                return 0;
        } else if (strpbrk(host, "[]: \t/") == NULL) {
            return 0;
        }
    }
    return error_set(error, ERROR_REFUSED,
                     "\"%s\" is no address: write HOST:PORT, for example 127.0.0.1:8300, "
                     "[::1]:8300, 0.0.0.0:0 (any free port) or none",
                     text);
}

static int check_pooler(const char *text, struct rota_error *error)
{
    if (strcmp(text, "auto") == 0 || strcmp(text, "transaction") == 0 || strcmp(text, "none") == 0)
        return 0;
    return error_set(error, ERROR_REFUSED, "\"%s\" is unknown: auto, transaction or none", text);
}

static int check_log_level(const char *text, struct rota_error *error)
{
    enum log_level level;
    if (log_level_parse(text, &level) == 0)
        return 0;
    return error_set(error, ERROR_REFUSED, "\"%s\" is unknown: debug, info, warn or error", text);
}

static int check_log_format(const char *text, struct rota_error *error)
{
    if (strcmp(text, "json") == 0 || strcmp(text, "text") == 0)
        return 0;
    return error_set(error, ERROR_REFUSED, "\"%s\" is unknown: json or text", text);
}

#define NODES (SCOPE_NODE | SCOPE_UP)

static const struct setting table[SETTING_COUNT] = {
    [SETTING_CONFIG] = {"config", SETTING_TEXT, SCOPE_ALL,
                        .help = "JSON file with settings by name (weaker than flags and "
                                "environment)"},
    [SETTING_DATABASE_URL] = {"database_url", SETTING_TEXT, SCOPE_ALL, .secret = true,
                              .help = "PostgreSQL to use: URI or connection string; better by "
                                      "environment or file, as others can see flags"},
    [SETTING_SESSION_DATABASE_URL] = {"session_database_url", SETTING_TEXT,
                                      NODES | SCOPE_DOCTOR | SCOPE_LOCK, .secret = true,
                                      .help = "direct connection to the same database when "
                                              "database_url goes through a pooler"},
    [SETTING_POOLER] = {"pooler", SETTING_TEXT, SCOPE_ALL, .standard = "auto",
                        .check = check_pooler,
                        .help = "what database_url goes through: auto finds out; transaction: a "
                                "pooler such as pgbouncer in transaction mode; none"},
    [SETTING_DATA] = {"data", SETTING_TEXT, SCOPE_CLIENT | SCOPE_UP | SCOPE_LOCK,
                      .help =
                          "data directory of `rota up`; default /var/lib/rota/up for root, else "
                          "$XDG_DATA_HOME/rota or ~/.local/share/rota"},
    [SETTING_PG_BINDIR] = {"pg_bindir", SETTING_TEXT, SCOPE_UP,
                           .help =
                               "where `rota up` finds initdb and postgres; default: looked for"},
    [SETTING_SCHEMA] = {"schema", SETTING_TEXT, SCOPE_ALL, .standard = "rota",
                        .check = check_identifier,
                        .help =
                            "schema of rota's tables; fleets that share a database differ in it"},
    [SETTING_LOCK_NAMESPACE] = {"lock_namespace", SETTING_TEXT, SCOPE_ALL,
                                .check = check_identifier,
                                .help =
                                    "sets the advisory locks of nodes apart from those of other "
                                    "software; default: the schema's name"},
    [SETTING_NODE_NAME] = {"node_name", SETTING_TEXT, SCOPE_NODE, .check = check_node_name,
                           .help = "a restarted node keeps its name; default: the host's name"},
    [SETTING_HTTP_LISTEN] = {"http_listen", SETTING_TEXT, SCOPE_NODE, .standard = "127.0.0.1:8300",
                             .check = check_listen,
                             .help = "address of the HTTP API, /healthz and /readyz; port 0: any "
                                     "free one; none: no HTTP"},
    [SETTING_HTTP_TLS_CERT] = {"http_tls_cert", SETTING_TEXT, SCOPE_NODE,
                               .help = "PEM file of the HTTP API's certificate and those between "
                                       "it and its root; read again on SIGHUP; default: no TLS"},
    [SETTING_HTTP_TLS_KEY] = {"http_tls_key", SETTING_TEXT, SCOPE_NODE,
                              .help = "PEM file of its key"},
    [SETTING_MANIFESTS] = {"manifests", SETTING_LIST, NODES,
                           .help = "files or directories of *.json applied at start"},
    [SETTING_POOLS] = {"pools", SETTING_POOL_TABLE, NODES,
                       .help =
                           "worker processes of your own: "
                           "{\"py\":{\"command\":[\"python3\",\"worker.py\"],\"processes\":4}}, "
                           "or built-in ones with slots of their own: "
                           "{\"x\":{\"builtin\":[\"exec\"],\"slots\":2}}"},
    [SETTING_SLOTS] = {"slots", SETTING_NUMBER, NODES, .standard = "16", .low = 1, .high = 10000,
                       .help = "runs at once in the built-in worker"},
    [SETTING_WORKER_LISTEN] = {"worker_listen", SETTING_LIST, SCOPE_NODE, .separator = ',',
                               .check = listener_check,
                               .help = "where workers may connect: unix:/run/rota/worker.sock, "
                                       "127.0.0.1:8301; default: nowhere"},
    [SETTING_WORKER_SOCKET_MODE] = {"worker_socket_mode", SETTING_TEXT, SCOPE_NODE,
                                    .standard = "600", .check = settings_check_socket_mode,
                                    .help = "of their Unix socket: 600, 660 or 666"},
    [SETTING_WORKER_TOKEN] = {"worker_token", SETTING_TEXT, SCOPE_NODE, .secret = true,
                              .check = settings_check_token,
                              .help = "what workers must say on a TCP port; better by file or "
                                      "environment than by flag"},
    [SETTING_WORKER_TOKEN_FILE] = {"worker_token_file", SETTING_TEXT, SCOPE_NODE,
                                   .help = "file that holds worker_token"},
    [SETTING_CGROUP] = {"cgroup", SETTING_TEXT, NODES, .standard = "auto",
                        .check = settings_check_cgroup,
                        .help =
                            "control groups (v2) for worker processes: auto: where the node may "
                            "make them; off; or a directory under /sys/fs/cgroup"},
    [SETTING_EXEC_ALLOW] = {"exec_allow", SETTING_LIST, NODES,
                            .help = "programs the exec handler may run, path patterns such as "
                                    "/opt/jobs/*; default: none, and everything under `rota up`"},
    [SETTING_HTTP_ALLOW] = {"http_allow", SETTING_LIST, NODES, .check = settings_check_http_allow,
                            .help = "private targets the http handler may reach: addresses "
                                    "(10.1.0.0/16), hosts (*.internal) or *; default: none, and "
                                    "this machine under `rota up`"},
    [SETTING_SECRET_ENV] = {"secret_env", SETTING_LIST, NODES,
                            .help = "variables of the node that jobs may refer to as secrets, "
                                    "patterns such as HOOK_*; default: none, and all under `rota "
                                    "up`"},
    [SETTING_SECRET_FILES] = {"secret_files", SETTING_LIST, NODES,
                              .help = "files that jobs may refer to as secrets, path patterns "
                                      "such as /run/secrets/*; default: none, and all under `rota "
                                      "up`"},
    [SETTING_DATABASES] = {"databases", SETTING_OBJECT, NODES, .secret = true,
                           .check = settings_check_databases,
                           .help = "databases of the sql handler: "
                                   "{\"reports\":{\"url_env\":\"REPORTS_URL\"}}; url, url_env or "
                                   "url_file"},
    [SETTING_LEASE] = {"lease", SETTING_DURATION, NODES, .standard = "10s", .low = SECOND,
                       .high = HOUR,
                       .help = "a node that could not renew for so long may not act any more"},
    [SETTING_HEARTBEAT] = {"heartbeat", SETTING_DURATION, NODES, .standard = "2s",
                           .low = 100 * MILLISECOND, .high = HOUR,
                           .help = "how often the lease is renewed; less than half of it, a "
                                   "fifth where a short lease says nothing else"},
    [SETTING_RESTART_DELAY] = {"restart_delay", SETTING_DURATION, NODES, .low = 0, .high = HOUR,
                               .help = "nobody is declared dead for so long after PostgreSQL came "
                                       "back; default: the lease"},
    [SETTING_GRACE] = {"grace", SETTING_DURATION, NODES, .standard = "25s", .low = 0, .high = DAY,
                       .help = "a draining node waits so long for its runs"},
    [SETTING_POLL] = {"poll", SETTING_DURATION, NODES, .standard = "5s", .low = 100 * MILLISECOND,
                      .high = HOUR,
                      .help = "how late a run may start when its notification was lost"},
    [SETTING_LOCK_DELAY] = {"lock_delay", SETTING_DURATION, NODES | SCOPE_LOCK, .low = 0,
                            .high = HOUR,
                            .help =
                                "after the death of a cluster lock's holder, the next one waits "
                                "so long; default: the lease, 10s for `rota lock`"},
    [SETTING_LOCK_WAIT] = {"lock_wait", SETTING_DURATION, NODES | SCOPE_LOCK, .standard = "9s",
                           .low = 0, .high = 365 * DAY,
                           .help = "how long a cluster lock is waited for, where nobody says"},
    [SETTING_MISFIRE_THRESHOLD] = {"misfire_threshold", SETTING_DURATION, NODES, .standard = "15m",
                                   .low = 0, .high = 365 * DAY,
                                   .help = "how late the policy `skip` still fires, where the "
                                           "trigger does not say"},
    [SETTING_CATCH_UP_RATE] = {"catch_up_rate", SETTING_NUMBER, NODES, .standard = "100", .low = 1,
                               .high = 100000, .help = "made-up firings a second, whole fleet"},
    [SETTING_HISTORY_ROWS] = {"history_rows", SETTING_NUMBER, NODES, .standard = "100000", .low = 0,
                              .high = INT64_C(1000000000000),
                              .help = "finished runs kept at least; 0: no limit"},
    [SETTING_HISTORY_AGE] = {"history_age", SETTING_DURATION, NODES, .standard = "0s", .low = 0,
                             .high = 36500 * DAY,
                             .help = "finished runs older than this are dropped; 0: never"},
    [SETTING_NOTIFY] = {"notify", SETTING_BOOL, NODES, .standard = "true",
                        .help = "wake nodes by NOTIFY; without it they poll more often"},
    [SETTING_STANDBY] = {"standby", SETTING_BOOL, NODES, .standard = "false",
                         .help =
                             "initialise and register, but do not fire until `rota resume-node`"},
    [SETTING_DISABLE_SCHEDULER] = {"disable_scheduler", SETTING_BOOL, NODES, .standard = "false",
                                   .variable = "MB_DISABLE_SCHEDULER",
                                   .help = "initialise and register, but never fire"},
    [SETTING_LOG_LEVEL] = {"log_level", SETTING_TEXT, NODES | SCOPE_LOCK, .standard = "info",
                           .check = check_log_level, .help = "debug, info, warn or error"},
    [SETTING_LOG_FORMAT] = {"log_format", SETTING_TEXT, SCOPE_NODE, .standard = "json",
                            .check = check_log_format,
                            .help = "json: an object a line; text: for people"},
    [SETTING_LOG_RUNS] = {"log_runs", SETTING_BOOL, SCOPE_NODE, .standard = "false",
                          .help = "a line for every finished run"},
};

const struct setting *settings_row(enum setting_id id)
{
    assert(id >= 0 && id < SETTING_COUNT);
    return &table[id];
}

int settings_find(const char *name, size_t length)
{
    for (int id = 0; id < SETTING_COUNT; id++) {
        const char *row = table[id].name;
        size_t at = 0;
        while (at < length && row[at] != '\0' &&
               (name[at] == row[at] || (name[at] == '-' && row[at] == '_')))
            at++;
        if (at == length && row[at] == '\0')
            return id;
    }
    return -1;
}

void settings_flag_name(enum setting_id id, char *ret_name, size_t size)
{
    snprintf(ret_name, size, "--%s", table[id].name);
    for (char *at = ret_name; *at != '\0'; at++)
        if (*at == '_')
            *at = '-';
}

void settings_variable_name(enum setting_id id, char *ret_name, size_t size)
{
    snprintf(ret_name, size, "ROTA_%s", table[id].name);
    for (char *at = ret_name; *at != '\0'; at++)
        *at = (char)toupper((unsigned char)*at);
}

#define HELP_COLUMN 31
#define HELP_WIDTH  100

/* The words of `text`, wrapped, each line after the first indented. */
static void print_wrapped(FILE *out, const char *text)
{
    size_t column = HELP_COLUMN;
    for (const char *at = text; *at != '\0';) {
        size_t length = strcspn(at, " ");
        if (column > HELP_COLUMN && column + 1 + length > HELP_WIDTH) {
            fprintf(out, "\n%*s", HELP_COLUMN, "");
            column = HELP_COLUMN;
        } else if (column > HELP_COLUMN) {
            fputc(' ', out);
            column++;
        }
        fprintf(out, "%.*s", (int)length, at);
        column += length;
        at += length + strspn(at + length, " ");
    }
    fputc('\n', out);
}

void settings_print_help(FILE *out, unsigned scope)
{
    static const char *const values[] = {" TEXT",  " DURATION", " N",   "",
                                         " A:B:…", " JSON",     " JSON"};
    for (int id = 0; id < SETTING_COUNT; id++) {
        const struct setting *row = &table[id];
        if ((row->scopes & scope) == 0)
            continue;
        char flag[64], help[512];
        settings_flag_name((enum setting_id)id, flag, sizeof flag);
        int width =
            fprintf(out, "  %s%s", flag, row->separator == ',' ? " A,B,…" : values[row->type]);
        if (row->type == SETTING_LIST)
            width -= 2; /* the ellipsis is three bytes and one column */
        if (width >= HELP_COLUMN)
            width = -fprintf(out, "\n") + 1;
        fprintf(out, "%*s", HELP_COLUMN - width, "");
        bool off = row->type == SETTING_BOOL && strcmp(row->standard, "false") == 0;
        if (row->standard != NULL && !off)
            snprintf(help, sizeof help, "%s [%s]", row->help,
                     row->type == SETTING_BOOL ? "on" : row->standard);
        else
            snprintf(help, sizeof help, "%s", row->help);
        print_wrapped(out, help);
    }
    fputs(
        "\nEach may also come from the environment (--log-level: ROTA_LOG_LEVEL) or from the JSON "
        "file of\n--config (\"log_level\": \"debug\"); a flag wins over the environment, that over "
        "the file. A flag\nthat is on is turned off by --no-NAME. Durations: 250ms, 90s, 5m, 2h, "
        "1d or ISO 8601.\n",
        out);
}
