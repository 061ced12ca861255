/* Waits for the end of a run: see run_wait.h. */
#include "cmd/run_wait.h"

#include "base/clock.h"
#include "base/instant.h"
#include "base/json.h"
#include "base/memory.h"
#include "base/text.h"

#include <event2/event.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LOOK_US     (500 * US_PER_MS) /* progress is no event; nor is anything behind a pooler */
#define MESSAGE_MAX 60                /* characters of it in the one line of a terminal */

struct wait {
    struct client *client;
    int64_t run;
    bool json, terminal;
    bool woken;       /* a notification, the timer, or a signal */
    bool interrupted; /* Ctrl-C */
    bool away_told;   /* that the database cannot be reached */
    bool line_open;   /* the line of progress is on the screen */
    char *progress;   /* as shown last */
    int64_t lines;    /* of its log: how many there were when it was shown last */
};

/* Columns of run_look.sql. */
enum look {
    LOOK_PLACE,
    LOOK_FRACTION,
    LOOK_MESSAGE,
    LOOK_LOGS,
    LOOK_DROPPED,
    LOOK_STATUS,
    LOOK_OUTCOME,
    LOOK_WHY,
    LOOK_OUTPUT,
    LOOK_DETAILS,
    LOOK_DOCUMENT,
    LOOK_NODE
};

/* ---- what is shown meanwhile ---- */

/* Workers' texts must not move the cursor: control characters, C1 among them, become spaces. */
static void tame(char *text)
{
    for (unsigned char *at = (unsigned char *)text; *at != '\0'; at++) {
        bool c1 = at[0] == 0xc2 && at[1] >= 0x80 && at[1] < 0xa0;
        if (*at < 0x20 || *at == 0x7f || c1)
            *at = ' ';
        if (c1)
            *++at = ' ';
    }
}

static void close_line(struct wait *wait)
{
    if (wait->line_open)
        fputs("\r\033[K", stderr);
    wait->line_open = false;
}

static char *progress_text(const PGresult *result)
{
    struct buffer text = {0};
    if (!row_null(result, 0, LOOK_FRACTION))
        buffer_format(&text, "%d %%", (int)(row_double(result, 0, LOOK_FRACTION) * 100 + 0.5));
    const char *message = row_text(result, 0, LOOK_MESSAGE);
    if (message != NULL) {
        buffer_string(&text, text.length > 0 ? " " : "");
        buffer_append(&text, message, text_cut(message, strlen(message), MESSAGE_MAX));
    }
    if (text.length == 0) {
        const char *node = row_text(result, 0, LOOK_NODE);
        buffer_format(&text, node != NULL ? "runs on node %s" : "waits", node);
    }
    buffer_char(&text, '\0');
    tame(text.data);
    return text.data;
}

static void show_progress(struct wait *wait, const PGresult *result)
{
    char *text = progress_text(result);
    bool changed = wait->progress == NULL || strcmp(wait->progress, text) != 0;
    if (wait->terminal) {
        fprintf(stderr, "\r\033[Krun %lld: %s", (long long)wait->run, text);
        wait->line_open = true;
    } else if (changed) {
        fprintf(stderr, "run %lld: %s\n", (long long)wait->run, text);
    }
    free(wait->progress);
    wait->progress = text;
}

static void show_line(struct wait *wait, const struct json *json, const struct json_value *line)
{
    const struct json_value *level = json_get(json, line, "level");
    const struct json_value *message = json_get(json, line, "message");
    if (message == NULL || message->type != JSON_STRING)
        return;
    char *of = level != NULL && level->type == JSON_STRING ? json_text(level) : NULL;
    char *text = json_text(message);
    if (text != NULL) {
        tame(text);
        close_line(wait);
        fprintf(stderr, "%s: %s\n", of != NULL ? of : "info", text);
    }
    free(of);
    free(text);
}

/* Those that came since the last look; what has left the bounds of the log meanwhile is counted. */
static void show_log(struct wait *wait, const PGresult *result)
{
    const char *text = row_text(result, 0, LOOK_LOGS);
    struct json json;
    if (text == NULL || json_parse(&json, text, strlen(text), NULL) != 0)
        return;
    int64_t at = row_int64(result, 0, LOOK_DROPPED);
    if (json.values->type == JSON_ARRAY && at > wait->lines) {
        close_line(wait);
        fprintf(stderr, "… %lld lines left out\n", (long long)(at - wait->lines));
    }
    if (json.values->type == JSON_ARRAY)
        for (const struct json_value *line = json_first(&json, json.values); line != NULL;
             line = json_next(&json, line)) {
            if (line->type != JSON_OBJECT || json_get(&json, line, "dropped") != NULL)
                continue; /* in the history the count stands before the lines */
            if (at++ >= wait->lines)
                show_line(wait, &json, line);
        }
    wait->lines = at > wait->lines ? at : wait->lines;
    json_free(&json);
}

/* ---- its end ---- */

static void show_result(struct wait *wait, const PGresult *result)
{
    const char *output = row_text(result, 0, LOOK_OUTPUT);
    const char *details = row_text(result, 0, LOOK_DETAILS);
    if (wait->json) {
        puts(row_text(result, 0, LOOK_DOCUMENT));
        return;
    }
    if (output != NULL && *output != '\0')
        printf("%s%s", output, output[strlen(output) - 1] == '\n' ? "" : "\n");
    else if (output == NULL && details != NULL)
        puts(details);
    fflush(stdout);
}

/* 0 or -1, as run_wait(). */
static int ended(struct wait *wait, const PGresult *result, struct rota_error *error)
{
    const char *outcome = row_text(result, 0, LOOK_OUTCOME), *why = row_text(result, 0, LOOK_WHY);
    bool success = strcmp(row_text(result, 0, LOOK_STATUS), "success") == 0;
    if (!wait->json)
        show_log(wait, result);
    close_line(wait);
    if (success && !wait->json)
        fprintf(stderr, "run %lld: success\n", (long long)wait->run);
    if (success || wait->json || row_text(result, 0, LOOK_OUTPUT) != NULL)
        show_result(wait, result);
    if (success)
        return 0;
    return error_set(error, ERROR_REFUSED, "run %lld ended as %s%s%s", (long long)wait->run,
                     outcome, why != NULL ? ": " : "", why != NULL ? why : "");
}

/* ---- looking ---- */

static void on_event(evutil_socket_t fd, short what, void *arg)
{
    struct wait *wait = arg;
    (void)fd;
    wait->woken = true;
    wait->interrupted = wait->interrupted || (what & EV_SIGNAL) != 0;
}

static void on_notified(void *arg, const char *payload)
{
    struct wait *wait = arg;
    int64_t run;
    if (text_int64(payload, strlen(payload), &run) == 0 && run == wait->run)
        wait->woken = true;
}

/* 1: it is over, with *ret_failed and error. 0: it is not. -1 with error: that cannot be said. */
static int look(struct wait *wait, int *ret_failed, struct rota_error *error)
{
    struct store_params params = {0};
    PGresult *result;
    params_int64(&params, wait->run);
    int failed = store_wait(wait->client->store, SQL_RUN_LOOK, &params, 0, &result, error);
    store_params_free(&params);
    if (failed != 0 && store_fault(error) == FAULT_RETRY) {
        close_line(wait);
        if (!wait->away_told)
            fprintf(stderr, "%s; still waiting …\n", error->message);
        wait->away_told = true;
        return 0;
    }
    if (failed != 0)
        return -1;
    wait->away_told = false;
    int over = !row_null(result, 0, LOOK_STATUS);
    if (over) {
        *ret_failed = ended(wait, result, error);
    } else if (row_null(result, 0, LOOK_PLACE)) {
        over = error_set(error, ERROR_NOT_FOUND, "there is no run %lld any more",
                         (long long)wait->run);
    } else if (!wait->json) {
        show_log(wait, result);
        show_progress(wait, result);
    }
    PQclear(result);
    return over;
}

static int goes_on(struct wait *wait, int64_t wait_us, struct rota_error *error)
{
    char text[TIME_TEXT_SIZE];
    if (wait->interrupted)
        return error_set(error, ERROR_INTERRUPTED, "run %lld goes on; `rota cancel %lld` ends it",
                         (long long)wait->run, (long long)wait->run);
    return error_set(
        error, ERROR_TIMEOUT,
        "run %lld is not over after %s and goes on; `rota explain %lld` says where it is",
        (long long)wait->run, duration_format(wait_us, text), (long long)wait->run);
}

/* 0: its end was seen. */
static int wait_for_end(struct wait *wait, int64_t wait_us, int *ret_failed,
                        struct rota_error *error)
{
    int64_t until_us = wait_us > 0 ? clock_monotonic_us() + wait_us : INT64_MAX;
    struct event *timer = evtimer_new(wait->client->base, on_event, wait);
    int over = 0;
    while ((over = look(wait, ret_failed, error)) == 0) {
        int64_t left_us = until_us - clock_monotonic_us();
        if (wait->interrupted || left_us <= 0) {
            over = goes_on(wait, wait_us, error);
            break;
        }
        struct timeval pause = clock_timeval(left_us < LOOK_US ? left_us : LOOK_US);
        evtimer_add(timer, &pause);
        for (wait->woken = wait->interrupted; !wait->woken;)
            event_base_loop(wait->client->base, EVLOOP_ONCE);
    }
    event_free(timer);
    return over < 0 ? -1 : 0;
}

int run_wait_option(int argc, char **argv, int *i, struct run_wait_option *option,
                    struct rota_error *error)
{
    static const char name[] = "--wait";
    const char *value = argv[*i] + strlen(name);
    if (strncmp(argv[*i], name, strlen(name)) != 0 || (*value != '\0' && *value != '='))
        return 0;
    option->wanted = true;
    if (*value == '=')
        return client_duration(name, value + 1, &option->us, error) != 0 ? -1 : 1;
    if (*i + 1 < argc && argv[*i + 1][0] >= '0' && argv[*i + 1][0] <= '9')
        return client_duration(name, argv[++*i], &option->us, error) != 0 ? -1 : 1;
    return 1;
}

int run_wait_listen(struct client *client, struct rota_error *error)
{
    PGresult *result;
    if (store_pooled(client->store))
        return 0; /* it would be somebody else's session that listens */
    if (store_wait(client->store, SQL_RUN_DONE_LISTEN, NULL, 0, &result, error) != 0)
        return -1;
    PQclear(result);
    return 0;
}

int run_wait(struct client *client, int64_t run, int64_t wait_us, bool json,
             struct rota_error *error)
{
    struct wait wait = {.client = client,
                        .run = run,
                        .json = json,
                        .terminal = !json && isatty(STDERR_FILENO) == 1};
    struct event *interrupt = evsignal_new(client->base, SIGINT, on_event, &wait);
    int failed = 0;
    event_add(interrupt, NULL);
    client->notified = on_notified;
    client->notified_arg = &wait;
    if (wait_for_end(&wait, wait_us, &failed, error) != 0)
        failed = -1;
    client->notified = NULL;
    event_free(interrupt);
    close_line(&wait);
    free(wait.progress);
    return failed;
}
