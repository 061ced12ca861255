/* Lists of what there is, and single things of them: the documents of `rota get`, in pages. */
#include "coord/http/routes.h"

#include "base/json.h"
#include "base/memory.h"
#include "store/store.h"

#include <stdlib.h>
#include <string.h>

#define LIMIT_DEFAULT 50
#define LIMIT_MAX     1000

/* By the second word of its paths. */
static const struct list {
    const char *noun;
    enum statement_id statement;
    const char *filter;                       /* the parameter that narrows it */
    const char *key;                          /* of a row, by which single ones are found */
    enum { BY_FILTER, BY_ID, BY_WORD } found; /* how: the latter two by a parameter of their own */
} lists[] = {
    {"jobs", SQL_GET_JOBS, "name", "name", BY_FILTER},
    {"triggers", SQL_GET_TRIGGERS, "name", "name", BY_FILTER},
    {"runs", SQL_GET_RUNS, "job", "id", BY_ID},
    {"nodes", SQL_GET_NODES, "name", "name", BY_FILTER},
    {"locks", SQL_GET_LOCKS, "name", "name", BY_FILTER},
    {"lanes", SQL_GET_LANES, "job", "lane", BY_WORD},
    {"audit", SQL_AUDIT_LIST, "name", "id", BY_FILTER},
    {"tokens", SQL_GET_TOKENS, "name", "key", BY_FILTER},
};

static const struct list *list_of(const struct web_request *request)
{
    const char *noun = web_request_route(request)->path + strlen("/api/");
    size_t i = 0, length = strcspn(noun, "/");
    while (strlen(lists[i].noun) != length || strncmp(lists[i].noun, noun, length) != 0)
        i++;
    return &lists[i];
}

static void on_list(struct web_request *request, const PGresult *result)
{
    struct slice text = row_slice(result, 0, 0);
    web_reply(request, 200, "application/json", text.data, text.length);
}

static void ask(struct web_request *request, const struct list *list, const char *name,
                const char *word, int64_t limit, const char *cursor, web_answer answer)
{
    struct store_params params = {0};
    params_text(&params, name);
    if (list->statement != SQL_GET_TOKENS) {
        params_int64(&params, limit);
        params_int64(&params, 0);
        params_text(&params, cursor);
    }
    int64_t id;
    if (list->found == BY_ID && word != NULL && query_number(word, &id) == 0)
        params_int64(&params, id);
    else if (list->found == BY_ID)
        params_null(&params);
    else if (list->found == BY_WORD)
        params_text(&params, word);
    web_ask(request, list->statement, &params, answer);
    store_params_free(&params);
}

static void list_all(struct web_request *request)
{
    const struct list *list = list_of(request);
    const char *limit_text = web_request_parameter(request, "limit");
    const char *cursor_text = web_request_parameter(request, "cursor");
    int64_t limit = LIMIT_DEFAULT;
    if (limit_text != NULL &&
        (query_number(limit_text, &limit) != 0 || limit < 1 || limit > LIMIT_MAX)) {
        web_reply_bad(request, "limit", "must be a whole number from 1 to %d", LIMIT_MAX);
        return;
    }
    char *cursor = cursor_text != NULL ? query_cursor(cursor_text) : NULL;
    if (cursor_text != NULL && cursor == NULL)
        web_reply_bad(request, "cursor", "must be `next` of a page before, as it was");
    else
        ask(request, list, web_request_parameter(request, list->filter), NULL, limit, cursor,
            on_list);
    free(cursor);
}

/* The row whose key is the word of the path. */
static void on_one(struct web_request *request, const PGresult *result)
{
    const struct list *list = list_of(request);
    const char *wanted = web_request_value(request, 0);
    struct slice text = row_slice(result, 0, 0), found = SLICE_NONE;
    struct json json;
    if (json_parse(&json, text.data, text.length, NULL) == 0) {
        const struct json_value *data = json_get(&json, json.values, "data");
        for (const struct json_value *row = json_first(&json, data);
             row != NULL && found.data == NULL; row = json_next(&json, row)) {
            const struct json_value *key = json_get(&json, row, list->key);
            if (list->found == BY_ID || json_is(key, wanted))
                found = row->raw;
        }
        json_free(&json);
    }
    if (found.data == NULL)
        web_reply_status(request, 404);
    else
        web_reply(request, 200, "application/json", found.data, found.length);
}

static void get_one(struct web_request *request)
{
    const struct list *list = list_of(request);
    const char *word = web_request_value(request, 0);
    int64_t id;
    if (list->found == BY_ID && query_number(word, &id) != 0)
        web_reply_status(request, 404);
    else
        ask(request, list, list->found == BY_FILTER ? word : NULL, word, LIMIT_MAX, NULL, on_one);
}

/* ---- the table ---- */

#define PAGING                                                                                     \
    {"limit", "integer", NULL, "rows at most, 1 to 1000 (default: 50)"},                           \
        {"cursor", "string", NULL, "`next` of the page before"},                                   \
    {                                                                                              \
        0                                                                                          \
    }

static const struct web_parameter by_name[] = {{"name", "string", NULL, "only this one"}, PAGING};
static const struct web_parameter of_triggers[] = {
    {"name", "string", NULL, "only this one, or those of this job"}, PAGING};
static const struct web_parameter by_job[] = {{"job", "string", NULL, "only those of it"}, PAGING};
static const struct web_parameter of_audit[] = {
    {"name", "string", NULL, "only what was done to it"}, PAGING};
static const struct web_parameter of_tokens[] = {{"name", "string", NULL, "only those"}, {0}};

#define LIST(path_, help_, parameters_)                                                            \
    {                                                                                              \
        "GET", path_, WEB_MONITOR, list_all, help_, .parameters = parameters_, .answer = "List"    \
    }
#define ONE(path_, help_)                                                                          \
    {                                                                                              \
        "GET", path_, WEB_MONITOR, get_one, help_                                                  \
    }

const struct web_route web_list_routes[] = {
    LIST("/api/jobs", "Jobs", by_name),
    ONE("/api/jobs/:name", "One job"),
    LIST("/api/triggers", "Triggers", of_triggers),
    ONE("/api/triggers/:name", "One trigger"),
    LIST("/api/runs", "Runs that wait or have started", by_job),
    ONE("/api/runs/:id", "One of them; what is over is in /api/task"),
    LIST("/api/nodes", "Live nodes", by_name),
    ONE("/api/nodes/:name", "One node"),
    LIST("/api/locks", "Cluster locks", by_name),
    ONE("/api/locks/:name", "One cluster lock"),
    LIST("/api/lanes", "Lanes in use or waited for", by_job),
    ONE("/api/lanes/:lane", "One of them, by the number the list gives it"),
    {"GET", "/api/audit", WEB_ADMIN, list_all, "What was done, by whom; newest first",
     .parameters = of_audit, .answer = "List"},
    {"GET", "/api/tokens", WEB_ADMIN, list_all, "Tokens, without what is secret in them",
     .parameters = of_tokens, .answer = "List"},
    {0},
};
