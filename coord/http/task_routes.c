/* GET /api/task and its kin: the history of tasks, as dashboards and scripts know it. */
#include "coord/http/routes.h"
#include "coord/http/stream.h"

#include "base/memory.h"
#include "store/store.h"

#include <stdlib.h>
#include <string.h>

#define PAGE_ROWS      1000 /* of one statement */
#define LIMIT_DEFAULT  50
#define INFO_PAGE_JOBS 500

/* A listing on its way, page by page. */
struct listing {
    const char *task, *status, *column, *direction; /* the request's; NULL: all */
    int64_t limit, offset;                          /* -1: not given */
    int64_t left;                                   /* rows still wanted; INT64_MAX: all */
    bool first;                                     /* nothing was written yet */
    bool over;                                      /* the last page is out */
    bool whole;                                     /* few enough to be answered at once */
    struct buffer text;
    char *value;     /* where the next page goes on after: what it is sorted by, */
    int64_t last_id; /* and the id; 0: from the beginning */
};

static void listing_free(void *kept)
{
    struct listing *listing = kept;
    buffer_free(&listing->text);
    free(listing->value);
    free(listing);
}

/* ---- GET /api/task ---- */

static void next_page(struct web_request *request);

static void put_page(struct listing *listing, const PGresult *result, struct buffer *out)
{
    int rows = PQntuples(result);
    for (int i = 0; i < rows; i++) {
        struct slice row = row_slice(result, i, 2);
        if (!listing->first)
            buffer_char(out, ',');
        listing->first = false;
        buffer_append(out, row.data, row.length);
    }
    if (rows == 0)
        return;
    free(listing->value);
    listing->value = mem_string(row_text(result, rows - 1, 1));
    listing->last_id = row_int64(result, rows - 1, 0);
}

/* What there is by now: a piece of the answer, or of what will be the whole. */
static void put_out(struct web_request *request, struct listing *listing)
{
    if (!listing->whole) {
        struct buffer piece = listing->text;
        listing->text = (struct buffer){0};
        web_stream_write(request, piece.data, piece.length, next_page);
        buffer_free(&piece);
    } else if (listing->over) {
        web_reply_json(request, 200, &listing->text);
    } else {
        next_page(request);
    }
}

static void on_page(struct web_request *request, const PGresult *result)
{
    struct listing *listing = web_request_kept(request);
    int rows = PQntuples(result);
    put_page(listing, result, &listing->text);
    if (listing->left != INT64_MAX)
        listing->left -= rows;
    listing->over = rows < PAGE_ROWS || listing->left == 0;
    if (listing->over)
        buffer_string(&listing->text, "]}");
    put_out(request, listing);
}

static void next_page(struct web_request *request)
{
    struct listing *listing = web_request_kept(request);
    struct store_params params = {0};
    if (listing->over) {
        web_stream_end(request);
        return;
    }
    params_text(&params, listing->task);
    params_text(&params, listing->status);
    params_text(&params, listing->column);
    params_text(&params, listing->direction);
    params_int64(&params, listing->left < PAGE_ROWS ? listing->left : PAGE_ROWS);
    params_int64(&params, listing->last_id == 0 && listing->offset > 0 ? listing->offset : 0);
    params_text(&params, listing->value);
    if (listing->last_id != 0)
        params_int64(&params, listing->last_id);
    else
        params_null(&params);
    web_ask(request, SQL_TASK_PAGE, &params, on_page);
    store_params_free(&params);
}

static void put_number(struct buffer *out, const char *key, int64_t number)
{
    if (number < 0)
        buffer_format(out, "\"%s\":null,", key);
    else
        buffer_format(out, "\"%s\":%lld,", key, (long long)number);
}

static void on_total(struct web_request *request, const PGresult *result)
{
    struct listing *listing = web_request_kept(request);
    struct buffer *out = &listing->text;
    if (!listing->whole && !web_stream_begin(request, "application/json"))
        return;
    buffer_char(out, '{');
    put_number(out, "total", row_int64(result, 0, 0));
    put_number(out, "limit", listing->limit);
    put_number(out, "offset", listing->offset);
    buffer_string(out, "\"data\":[");
    listing->over = listing->left == 0;
    if (listing->over)
        buffer_string(out, "]}");
    put_out(request, listing);
}

/* 0, or -1 and answered. */
static int take_number(struct web_request *request, const char *name, int64_t *ret_number)
{
    const char *text = web_request_parameter(request, name);
    if (text == NULL || query_number(text, ret_number) == 0)
        return 0;
    web_reply_bad(request, NULL, "Error parsing paging parameters: %s \"%.40s\" is no whole number",
                  name, text);
    return -1;
}

static const char *or_default(const char *text, const char *standard)
{
    return text != NULL ? text : standard;
}

static void list_tasks(struct web_request *request)
{
    struct store_params params = {0};
    const char *task = web_request_parameter(request, "task");
    int64_t limit = -1, offset = -1;
    if (task != NULL && *task == '\0') {
        web_reply_bad(request, "task", "must not be empty");
        return;
    }
    if (take_number(request, "limit", &limit) != 0 || take_number(request, "offset", &offset) != 0)
        return;
    if (limit < 0 && offset >= 0)
        limit = LIMIT_DEFAULT;
    if (limit >= 0 && offset < 0)
        offset = 0;
    struct listing *listing = mem_alloc(sizeof *listing);
    *listing = (struct listing){
        .task = task,
        .status = web_request_parameter(request, "status"),
        .column = or_default(web_request_parameter(request, "sort_column"), "started_at"),
        .direction = or_default(web_request_parameter(request, "sort_direction"), "desc"),
        .limit = limit,
        .offset = offset,
        .left = limit >= 0 ? limit : INT64_MAX,
        .whole = limit >= 0 && limit <= PAGE_ROWS,
        .first = true};
    web_request_keep(request, listing, listing_free);
    params_text(&params, listing->task);
    params_text(&params, listing->status);
    web_ask(request, SQL_TASK_TOTAL, &params, on_total);
    store_params_free(&params);
}

/* ---- GET /api/task/:id, /api/task/unique-tasks ---- */

static void on_document(struct web_request *request, const PGresult *result)
{
    struct slice text = PQntuples(result) > 0 ? row_slice(result, 0, 0) : SLICE_NONE;
    if (text.data == NULL)
        web_reply_status(request, 404);
    else
        web_reply(request, 200, "application/json", text.data, text.length);
}

static void get_task(struct web_request *request)
{
    struct store_params params = {0};
    int64_t id;
    if (query_number(web_request_value(request, 0), &id) != 0) {
        web_reply_status(request, 404);
        return;
    }
    params_int64(&params, id);
    web_ask(request, SQL_TASK_GET, &params, on_document);
    store_params_free(&params);
}

static void list_names(struct web_request *request)
{
    web_ask(request, SQL_TASK_NAMES, NULL, on_document);
}

/* ---- GET /api/task/info ---- */

static void next_jobs(struct web_request *request);

static void on_jobs(struct web_request *request, const PGresult *result)
{
    struct listing *listing = web_request_kept(request);
    struct buffer out = {0};
    int rows = PQntuples(result);
    for (int i = 0; i < rows; i++) {
        struct slice job = row_slice(result, i, 1);
        if (!listing->first)
            buffer_char(&out, ',');
        listing->first = false;
        buffer_append(&out, job.data, job.length);
    }
    if (rows > 0) {
        free(listing->value);
        listing->value = mem_string(row_text(result, rows - 1, 0));
    }
    listing->over = rows < INFO_PAGE_JOBS;
    if (listing->over)
        buffer_string(&out, "]}");
    web_stream_write(request, out.data, out.length, next_jobs);
    buffer_free(&out);
}

static void next_jobs(struct web_request *request)
{
    struct listing *listing = web_request_kept(request);
    struct store_params params = {0};
    if (listing->over) {
        web_stream_end(request);
        return;
    }
    params_text(&params, or_default(listing->value, ""));
    params_int64(&params, INFO_PAGE_JOBS);
    web_ask(request, SQL_TASK_INFO, &params, on_jobs);
    store_params_free(&params);
}

static void on_scheduler(struct web_request *request, const PGresult *result)
{
    struct buffer out = {0};
    struct slice lines = row_slice(result, 0, 0);
    if (!web_stream_begin(request, "application/json"))
        return;
    buffer_string(&out, "{\"scheduler\":");
    buffer_append(&out, lines.data, lines.length);
    buffer_string(&out, ",\"jobs\":[");
    web_stream_write(request, out.data, out.length, next_jobs);
    buffer_free(&out);
}

static void get_info(struct web_request *request)
{
    struct listing *listing = mem_alloc(sizeof *listing);
    listing->first = true;
    web_request_keep(request, listing, listing_free);
    web_ask(request, SQL_TASK_SCHEDULER, NULL, on_scheduler);
}

/* ---- the table ---- */

static const char *const statuses[] = {"started", "success", "failed", "unknown", NULL};
static const char *const columns[] = {"started_at", "ended_at", "duration", "task", "status", NULL};
static const char *const directions[] = {"asc", "desc", NULL};

static const struct web_parameter list_parameters[] = {
    {"status", "string", statuses, "only those"},
    {"task", "string", NULL, "only this task"},
    {"sort_column", "string", columns, "default started_at"},
    {"sort_direction", "string", directions, "default desc; ties go by id, the newest first"},
    {"limit", "integer", NULL, "rows at most; 50 where only offset is given"},
    {"offset", "integer", NULL, "rows to pass over; 0 where only limit is given"},
    {0},
};

const struct web_route web_task_routes[] = {
    {"GET", "/api/task", WEB_MONITOR, list_tasks,
     "Runs that have started or are over; all of them where neither limit nor offset is given",
     .parameters = list_parameters, .answer = "TaskList", .lenient = true},
    {"GET", "/api/task/info", WEB_MONITOR, get_info, "The scheduler, its jobs and their triggers",
     .answer = "TaskInfo", .lenient = true},
    {"GET", "/api/task/unique-tasks", WEB_MONITOR, list_names, "Names of tasks, sorted",
     .answer = "TaskNames", .lenient = true},
    {"GET", "/api/task/:id", WEB_MONITOR, get_task, "One run", .answer = "Task", .lenient = true},
    {0},
};
