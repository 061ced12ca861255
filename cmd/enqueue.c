/* Queueing runs in batches of one transaction: see enqueue.h. */
#include "cmd/enqueue.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/memory.h"
#include "cmd/terminal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BATCH_RUNS  1000        /* of one statement */
#define BATCH_BYTES (16u << 20) /* likewise */
#define READ_BYTES  (1u << 20)

/* ---- data ---- */

void enqueue_data_free(struct enqueue_data *data)
{
    buffer_free(&data->text);
    free(data->items);
    free(data->lines);
    *data = (struct enqueue_data){0};
}

int enqueue_check_data(struct slice text, const char *what, enum error_code code,
                       struct rota_error *error)
{
    struct json json;
    if (text.length > ENQUEUE_DATA_MAX)
        return error_set(error, code,
                         "%s has %zu bytes, at most %u are taken; pass a reference instead", what,
                         text.length, ENQUEUE_DATA_MAX);
    if (json_parse(&json, text.data, text.length, error) != 0) {
        error_prefix(error, "%s is not JSON", what);
        error->code = code;
        return -1;
    }
    bool object = json.values->type == JSON_OBJECT;
    const char *type = json_type_name(json.values->type);
    json_free(&json);
    return object ? 0
                  : error_set(error, code, "%s must be a JSON object like {\"key\":1}, this is %s",
                              what, type);
}

static int read_all(int fd, struct buffer *text, struct rota_error *error)
{
    for (;;) {
        ssize_t size = read(fd, buffer_reserve(text, READ_BYTES), READ_BYTES);
        if (size < 0 && errno == EINTR)
            continue;
        if (size < 0)
            return error_set(error, ERROR_REFUSED, "standard input cannot be read: %s",
                             strerror(errno));
        if (size == 0)
            return 0;
        text->length += (size_t)size;
        if (text->length > ENQUEUE_TEXT_MAX)
            return error_set(error, ERROR_REFUSED,
                             "standard input has more than %u MiB; divide it into several calls, "
                             "nothing was queued",
                             ENQUEUE_TEXT_MAX >> 20);
    }
}

/* The reader's "line 1, column C" of one line as the place in the whole. */
static int misplaced(size_t line, struct rota_error *error)
{
    int at, column = 1, length = 0;
    char message[sizeof error->message];
    const char *place = strstr(error->message, "line 1, column ");
    if (place == NULL || sscanf(place, "line %d, column %d: %n", &at, &column, &length) != 2 ||
        length == 0)
        place = NULL;
    snprintf(message, sizeof message, "%s", place != NULL ? place + length : error->message);
    return error_set(error, ERROR_REFUSED, "line %zu, column %d: %s; nothing was queued", line,
                     column, message);
}

static bool is_blank(struct slice line)
{
    for (size_t i = 0; i < line.length; i++)
        if (strchr(" \t\r", line.data[i]) == NULL)
            return false;
    return true;
}

static int add_line(struct enqueue_data *data, struct slice line, size_t number, size_t *capacity,
                    struct rota_error *error)
{
    if (is_blank(line))
        return 0;
    if (data->count == ENQUEUE_RUNS_MAX)
        return error_set(error, ERROR_REFUSED,
                         "line %zu is one too many: at most %d runs are queued at once; divide "
                         "them into several calls, nothing was queued",
                         number, ENQUEUE_RUNS_MAX);
    if (enqueue_check_data(line, "it", ERROR_REFUSED, error) != 0)
        return misplaced(number, error);
    if (data->count == *capacity) {
        *capacity = *capacity > 0 ? *capacity * 2 : 256;
        data->items = mem_resize(data->items, *capacity, sizeof *data->items);
        data->lines = mem_resize(data->lines, *capacity, sizeof *data->lines);
    }
    data->items[data->count] = line;
    data->lines[data->count++] = number;
    return 0;
}

int enqueue_read(int fd, struct enqueue_data *ret_data, struct rota_error *error)
{
    struct enqueue_data data = {0};
    size_t capacity = 0, number = 0;
    int failed = read_all(fd, &data.text, error);
    const char *at = data.text.data, *end = at + data.text.length;
    while (failed == 0 && at < end) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        struct slice line = {at, (size_t)((stop != NULL ? stop : end) - at)};
        failed = add_line(&data, line, ++number, &capacity, error);
        at = stop != NULL ? stop + 1 : end;
    }
    if (failed == 0)
        *ret_data = data;
    else
        enqueue_data_free(&data);
    return failed;
}

/* ---- batches ---- */

struct batch {
    size_t first, count;
};

static struct batch next_batch(const struct enqueue_data *data, size_t first)
{
    struct batch batch = {.first = first};
    size_t bytes = 0;
    while (first + batch.count < data->count && batch.count < BATCH_RUNS) {
        bytes += data->items != NULL ? data->items[first + batch.count].length : data->same.length;
        if (bytes > BATCH_BYTES && batch.count > 0)
            break;
        batch.count++;
    }
    return batch;
}

static void add_data(struct store_params *params, const struct enqueue_data *data,
                     struct batch batch)
{
    struct slice *items = mem_array(batch.count, sizeof *items);
    for (size_t i = 0; i < batch.count; i++)
        items[i] = data->items != NULL ? data->items[batch.first + i] : data->same;
    params_slices(params, PARAMS_JSON, items, batch.count);
    free(items);
}

static void add_parameters(struct store_params *params, const struct enqueue *enqueue,
                           const struct enqueue_data *data, struct batch batch)
{
    params_text(params, enqueue->job);
    add_data(params, data, batch);
    params_time(params, enqueue->at_us);
    params_int64(params, enqueue->in_us / US_PER_MS);
    if (enqueue->priority > 0)
        params_int32(params, (int32_t)enqueue->priority);
    else
        params_null(params);
    params_text(params, enqueue->key);
    params_text(params, enqueue->on_conflict);
    if (enqueue->after_count > 0)
        params_int64s(params, enqueue->after, enqueue->after_count);
    else
        params_null(params);
    params_bool(params, enqueue->after_any);
    if (enqueue->expires_us > 0)
        params_int64(params, (enqueue->expires_us + US_PER_MS - 1) / US_PER_MS);
    else
        params_null(params);
    params_text(params, enqueue->traceparent);
    params_bool(params, enqueue->watched);
}

/* What a key that is taken means for the whole. */
static int check_conflict(const struct enqueue *enqueue, const struct enqueue_data *data,
                          size_t place, const struct enqueue_answer *answer,
                          struct rota_error *error)
{
    char where[40] = "";
    if (data->lines != NULL)
        snprintf(where, sizeof where, "line %zu: ", data->lines[place]);
    if (strcmp(answer->conflict, "rejected") == 0)
        return error_set(error, ERROR_REFUSED,
                         "%srun %lld of \"%s\" has this key already; nothing was queued "
                         "(--on-conflict says what else to do)",
                         where, (long long)answer->run, enqueue->job);
    if (strcmp(answer->conflict, "undecided") == 0)
        return error_set(error, ERROR_TIMEOUT,
                         "%sthe key is in the hands of a transaction that has not ended; nothing "
                         "was queued, try again",
                         where);
    return 0;
}

static int send_batch(struct client *client, const struct enqueue *enqueue,
                      const struct enqueue_data *data, struct batch batch, int flags,
                      struct enqueue_answer *answers, struct rota_error *error)
{
    struct store_params params = {0};
    PGresult *result;
    add_parameters(&params, enqueue, data, batch);
    int failed = store_wait(client->store, SQL_RUN_ENQUEUE, &params, flags, &result, error);
    store_params_free(&params);
    if (failed != 0)
        return -1;
    for (size_t i = 0; i < batch.count && failed == 0; i++) {
        struct enqueue_answer *answer = &answers[batch.first + i];
        const char *conflict = row_text(result, (int)i, 1);
        answer->run = row_null(result, (int)i, 0) ? 0 : row_int64(result, (int)i, 0);
        snprintf(answer->conflict, sizeof answer->conflict, "%s", conflict != NULL ? conflict : "");
        failed = check_conflict(enqueue, data, batch.first + i, answer, error);
    }
    PQclear(result);
    return failed;
}

/* The statement is only there to be the last one. */
static int commit(struct client *client, struct rota_error *error)
{
    int failed = store_wait(client->store, SQL_SCHEMA_VERSION, NULL, STORE_WITHIN | STORE_COMMIT,
                            NULL, error);
    if (failed != 0 && error->code == ERROR_DATABASE)
        error_prefix(error, "lost at the very end: perhaps queued, `rota get runs` tells");
    return failed;
}

static int send_batches(struct client *client, const struct enqueue *enqueue,
                        const struct enqueue_data *data, struct terminal *terminal,
                        struct enqueue_answer *answers, struct rota_error *error)
{
    struct batch batch = next_batch(data, 0);
    bool alone = batch.count == data->count;
    int failed = send_batch(client, enqueue, data, batch, alone ? 0 : STORE_BEGIN, answers, error);
    while (failed == 0 && batch.first + batch.count < data->count) {
        char text[80];
        batch = next_batch(data, batch.first + batch.count);
        snprintf(text, sizeof text, "queueing: %zu of %zu (%zu %%)", batch.first, data->count,
                 batch.first * 100 / data->count);
        terminal_progress(terminal, text);
        failed = send_batch(client, enqueue, data, batch, STORE_WITHIN, answers, error);
    }
    if (failed == 0 && !alone)
        failed = commit(client, error);
    else if (failed != 0 && !alone && error->sqlstate[0] == '\0') /* else the store has ended it */
        store_rollback(client->store);
    return failed;
}

/* An unknown job is looked up by what is near; the rest is said by the database well enough. */
static int explain(struct client *client, const struct enqueue *enqueue, struct rota_error *error)
{
    if (store_is(error, "22023") && strstr(error->message, "no job is called") != NULL)
        return client_unknown(client, "job", enqueue->job, error);
    if (store_is(error, "22023") && strstr(error->message, "there is no run") != NULL)
        error->code = ERROR_NOT_FOUND;
    client_plain(error);
    return -1;
}

int enqueue_runs(struct client *client, const struct enqueue *enqueue,
                 const struct enqueue_data *data, struct enqueue_answer **ret_answers,
                 struct rota_error *error)
{
    struct enqueue_answer *answers = mem_array(data->count, sizeof *answers);
    struct terminal *terminal = terminal_new(client->base, STDERR_FILENO, error);
    if (terminal == NULL) {
        free(answers);
        return -1;
    }
    int failed = send_batches(client, enqueue, data, terminal, answers, error);
    terminal_free(terminal);
    if (failed != 0) {
        free(answers);
        return explain(client, enqueue, error);
    }
    *ret_answers = answers;
    return 0;
}
