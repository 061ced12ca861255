/*
 * `rota get WHAT`: lists what the database knows. The statement makes the JSON document, which
 * `--json` prints as it is; for people a few of its columns are laid out as a table.
 */
#include "base/json.h"
#include "base/memory.h"
#include "base/text.h"
#include "cmd/client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LIMIT_DEFAULT 1000
#define LIMIT_MAX     1000000
#define COLUMNS_MAX   12
#define CELL_MAX      60 /* bytes of one cell of the table */

struct listing {
    const char *what;
    enum statement_id statement;
    bool by_status; /* takes --status */
    const char *columns[COLUMNS_MAX];
};

static const struct listing listings[] = {
    {"jobs",
     SQL_GET_JOBS,
     false,
     {"name", "source", "handler", "priority", "limit", "max_pending", "rate", "unique", "triggers",
      "next_at", "paused_by", "served"}},
    {"triggers",
     SQL_GET_TRIGGERS,
     false,
     {"name", "job", "schedule", "timezone", "state", "paused_by", "next_at", "previous_at",
      "fired", "missed", "unserved_since", "error"}},
    {"runs",
     SQL_GET_RUNS,
     false,
     {"id", "job", "trigger", "state", "held", "node", "due", "started_at", "attempt", "progress",
      "message"}},
    {"nodes",
     SQL_GET_NODES,
     false,
     {"name", "state", "running", "slots", "version", "workers", "host", "pid", "http",
      "renewed_at"}},
    {"locks", SQL_GET_LOCKS, false, {"name", "state", "mode", "holder", "fence", "acquired_at"}},
    {"history",
     SQL_GET_HISTORY,
     true,
     {"id", "task", "trigger", "status", "outcome", "node", "started_at", "duration", "attempt"}},
    {"lanes",
     SQL_GET_LANES,
     false,
     {"job", "key", "limit", "running", "parked", "blocked", "runs", "busy_since",
      "waiting_since"}},
};
#define LISTING_COUNT (sizeof listings / sizeof *listings)

static const char help_text[] =
    "Usage: rota get jobs|triggers|runs|nodes|locks|history|lanes [NAME] "
    "[--status S] [--with-data] [--limit N] [--offset N] [--json]\n"
    "\n"
    "Lists what the database knows; NAME narrows it to one (for "
    "triggers, runs and lanes also: of that job).\n"
    "What `held`, `unserved_since`, `missed` and lanes mean is in docs/operating.md.\n"
    "\n"
    "  --status S   history only: started, success, failed or unknown\n"
    "  --with-data  history only, with --json: the data each run was enqueued with\n"
    "  --limit N    rows at most (1000)\n"
    "  --offset N   rows to pass over\n"
    "  --json       the whole document\n"
    "\n";

struct options {
    const struct listing *listing;
    const char *name;
    const char *status;
    int64_t limit;
    int64_t offset;
    bool with_data;
    bool json;
};

/* ---- the table ---- */

/* Words or numbers, or keys with such values, without what makes them JSON. */
static char *list_text(const struct json_value *list)
{
    size_t length = 0;
    char *text = mem_alloc(list->raw.length + 1);
    for (size_t i = 0; i < list->raw.length && length < CELL_MAX; i++)
        if (strchr("[]{}\" ", list->raw.data[i]) == NULL)
            text[length++] = list->raw.data[i];
    text[length] = '\0';
    return text;
}

/* A cell's text, to be freed: strings without quotes, times without their fraction. */
static char *cell_text(const struct json_value *value)
{
    if (value == NULL || value->type == JSON_NULL ||
        (value->type == JSON_ARRAY && value->count == 0))
        return mem_string("-");
    if (value->type == JSON_ARRAY || value->type == JSON_OBJECT)
        return list_text(value);
    char *text = value->type == JSON_STRING ? json_text(value)
                                            : mem_string_n(value->raw.data, value->raw.length);
    if (text == NULL)
        return mem_string("?");
    if (strlen(text) > 20 && text[10] == 'T' && text[16] == ':') /* the session's zone is UTC */
        memcpy(text + 19, "Z", 2);
    for (char *at = text; *at != '\0'; at++)
        if ((unsigned char)*at < 0x20)
            *at = ' ';
    if (strlen(text) > CELL_MAX) {
        size_t end = CELL_MAX;
        while (end > 0 && ((unsigned char)text[end] & 0xc0) == 0x80)
            end--;
        text[end] = '\0';
    }
    return text;
}

static int width_of(const char *text)
{
    int width = 0;
    for (; *text != '\0'; text++)
        width += ((unsigned char)*text & 0xc0) != 0x80;
    return width;
}

static void print_cell(const char *text, int width, bool last)
{
    fputs(text, stdout);
    for (int i = width_of(text); !last && i < width + 2; i++)
        putchar(' ');
}

static void print_table(const struct listing *listing, const struct json *json,
                        const struct json_value *data)
{
    int widths[COLUMNS_MAX] = {0}, columns = 0;
    char **cells = mem_array((size_t)(data->count + 1) * COLUMNS_MAX, sizeof *cells);
    while (columns < COLUMNS_MAX && listing->columns[columns] != NULL)
        columns++;
    size_t rows = 0;
    for (int c = 0; c < columns; c++)
        cells[c] = mem_string(listing->columns[c]);
    for (const struct json_value *row = json_first(json, data); row != NULL;
         row = json_next(json, row)) {
        rows++;
        for (int c = 0; c < columns; c++)
            cells[rows * COLUMNS_MAX + (size_t)c] =
                cell_text(json_get(json, row, listing->columns[c]));
    }
    for (size_t r = 0; r <= rows; r++)
        for (int c = 0; c < columns; c++)
            if (width_of(cells[r * COLUMNS_MAX + (size_t)c]) > widths[c])
                widths[c] = width_of(cells[r * COLUMNS_MAX + (size_t)c]);
    for (size_t r = 0; r <= rows; r++) {
        for (int c = 0; c < columns; c++) {
            print_cell(cells[r * COLUMNS_MAX + (size_t)c], widths[c], c == columns - 1);
            free(cells[r * COLUMNS_MAX + (size_t)c]);
        }
        putchar('\n');
    }
    free(cells);
}

static int print_document(const struct options *options, const char *text, struct rota_error *error)
{
    struct json json;
    if (options->json) {
        puts(text);
        return 0;
    }
    if (json_parse(&json, text, strlen(text), error) != 0)
        return -1;
    const struct json_value *data = json_get(&json, json.values, "data");
    print_table(options->listing, &json, data);
    int64_t total = 0;
    if (json_int64(json_get(&json, json.values, "total"), &total) == 0 &&
        total > options->offset + data->count)
        printf("… %lld of %lld; go on with --offset %lld\n", (long long)data->count,
               (long long)total, (long long)(options->offset + data->count));
    json_free(&json);
    return 0;
}

/* ---- a name that nothing has ---- */

/* Where a name is that of one thing, which is there or not; elsewhere an empty list is an answer.
 */
static const char *noun_of(const struct options *options)
{
    if (options->name == NULL)
        return NULL;
    return options->listing->statement == SQL_GET_JOBS       ? "job"
           : options->listing->statement == SQL_GET_TRIGGERS ? "trigger"
                                                             : NULL;
}

static bool is_empty(const char *text)
{
    struct json json;
    int64_t total = -1;
    if (json_parse(&json, text, strlen(text), NULL) != 0)
        return false;
    bool empty = json_int64(json_get(&json, json.values, "total"), &total) == 0 && total == 0;
    json_free(&json);
    return empty;
}

/* ---- */

static int run(struct client *client, void *arg, struct rota_error *error)
{
    const struct options *options = arg;
    struct store_params params = {0};
    PGresult *result;
    params_text(&params, options->name);
    params_int64(&params, options->limit);
    params_int64(&params, options->offset);
    if (options->listing->by_status) {
        params_text(&params, options->status);
        params_bool(&params, options->with_data);
    } else {
        params_null(&params); /* from the beginning */
    }
    if (options->listing->statement == SQL_GET_RUNS || options->listing->statement == SQL_GET_LANES)
        params_null(&params); /* all of them */
    int failed = store_wait(client->store, options->listing->statement, &params, 0, &result, error);
    store_params_free(&params);
    if (failed != 0)
        return -1;
    const char *noun = noun_of(options);
    bool unknown = noun != NULL && is_empty(row_text(result, 0, 0));
    if (!unknown)
        failed = print_document(options, row_text(result, 0, 0), error);
    PQclear(result);
    return unknown ? client_unknown(client, noun, options->name, error) : failed;
}

static const struct listing *listing_of(const char *what)
{
    for (size_t i = 0; i < LISTING_COUNT; i++)
        if (strcmp(listings[i].what, what) == 0)
            return &listings[i];
    return NULL;
}

static int unknown_listing(const char *what, struct rota_error *error)
{
    const char *names[LISTING_COUNT];
    for (size_t i = 0; i < LISTING_COUNT; i++)
        names[i] = listings[i].what;
    const char *nearest = text_nearest(what, names, LISTING_COUNT);
    if (nearest != NULL)
        return error_set(error, ERROR_USAGE, "there are no \"%s\": did you mean %s?", what,
                         nearest);
    return error_set(error, ERROR_USAGE,
                     "there are no \"%s\": jobs, triggers, runs, nodes, locks, history or lanes",
                     what);
}

static int check_status(const char *status, struct rota_error *error)
{
    static const char *const known[] = {"started", "success", "failed", "unknown"};
    for (size_t i = 0; i < 4; i++)
        if (strcmp(status, known[i]) == 0)
            return 0;
    return error_set(error, ERROR_USAGE,
                     "--status \"%s\" is none of started, success, failed, unknown", status);
}

static int take(int argc, char **argv, int *i, void *arg, struct rota_error *error)
{
    struct options *options = arg;
    const char *value;
    int taken;
    if ((taken = cmd_option(argc, argv, i, "--status", &options->status, error)) != 0)
        return taken < 0 || check_status(options->status, error) != 0 ? -1 : 1;
    if ((taken = cmd_option(argc, argv, i, "--limit", &value, error)) != 0)
        return taken < 0 ||
                       client_number("--limit", value, 0, LIMIT_MAX, &options->limit, error) != 0
                   ? -1
                   : 1;
    if ((taken = cmd_option(argc, argv, i, "--offset", &value, error)) != 0)
        return taken < 0 ||
                       client_number("--offset", value, 0, INT64_MAX, &options->offset, error) != 0
                   ? -1
                   : 1;
    if (strcmp(argv[*i], "--with-data") == 0)
        return options->with_data = true;
    if (strcmp(argv[*i], "--json") == 0)
        return options->json = true;
    return 0;
}

static int word(const char *word, void *arg, struct rota_error *error)
{
    struct options *options = arg;
    if (options->listing == NULL) {
        options->listing = listing_of(word);
        return options->listing != NULL ? 0 : unknown_listing(word, error);
    }
    if (options->name != NULL)
        return error_set(error, ERROR_USAGE, "one name at a time: \"%s\" is a second one", word);
    options->name = word;
    return 0;
}

static int check(void *arg, struct rota_error *error)
{
    const struct options *options = arg;
    if (options->listing == NULL)
        return error_set(error, ERROR_USAGE,
                         "what? jobs, triggers, runs, nodes, locks, history or lanes");
    if (options->status != NULL && !options->listing->by_status)
        return error_set(error, ERROR_USAGE, "--status goes with history");
    if (options->with_data && !options->listing->by_status)
        return error_set(error, ERROR_USAGE, "--with-data goes with history");
    if (options->with_data && !options->json)
        return error_set(error, ERROR_USAGE, "--with-data goes with --json");
    return 0;
}

int cmd_get(int argc, char **argv)
{
    static const char *const own[] = {"--status", "--with-data", "--limit",
                                      "--offset", "--json",      NULL};
    static const struct client_command command = {.name = "get",
                                                  .help = help_text,
                                                  .own = own,
                                                  .take = take,
                                                  .word = word,
                                                  .check = check,
                                                  .run = run};
    struct options options = {.limit = LIMIT_DEFAULT};
    return client_main(&command, &options, argc, argv);
}
