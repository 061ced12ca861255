/* What `rota up` tells its user: see up_show.h. */
#include "cmd/up_show.h"

#include "base/buffer.h"
#include "base/clock.h"
#include "base/instant.h"
#include "base/json.h"
#include "base/memory.h"
#include "cmd/terminal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define DETAIL_MAX 160 /* bytes of a run's explanation on its line */

struct show {
    struct terminal *terminal;
    bool json;
    bool verbose;     /* nodes' info lines too */
    int64_t since_us; /* monotonic, of the step */
};

struct show *show_new(struct event_base *base, bool json, bool verbose, struct rota_error *error)
{
    struct show *show = mem_alloc(sizeof *show);
    show->json = json;
    show->verbose = verbose;
    show->terminal = terminal_new(base, STDOUT_FILENO, error);
    if (show->terminal == NULL) {
        show_free(show);
        return NULL;
    }
    return show;
}

void show_free(struct show *show)
{
    if (show == NULL)
        return;
    terminal_free(show->terminal);
    free(show);
}

/* --- what up itself says --- */

/* The head of a JSON line as the nodes write them; fields may follow, then json_end(). */
static void json_begin(struct buffer *line, enum log_level level, const char *message)
{
    char now[TIME_TEXT_SIZE];
    buffer_format(line, "{\"level\":\"%s\",\"time\":\"%s\",\"msg\":", log_level_name(level),
                  instant_format(clock_wall_us(), now));
    buffer_json(line, message, strlen(message));
}

static void json_field(struct buffer *line, const char *name, const char *text)
{
    buffer_format(line, ",\"%s\":", name);
    buffer_json(line, text, strlen(text));
}

static void json_end(struct show *show, struct buffer *line)
{
    buffer_char(line, '}');
    terminal_raw(show->terminal, line->data, line->length);
    buffer_free(line);
}

void show_begin(struct show *show, const char *doing)
{
    show_clear(show);
    show->since_us = clock_monotonic_us();
    show_busy(show, doing);
}

void show_busy(struct show *show, const char *doing)
{
    if (!show->json)
        terminal_progress(show->terminal, doing);
}

void show_clear(struct show *show)
{
    terminal_progress(show->terminal, NULL);
}

void show_done(struct show *show, const char *step, const char *format, ...)
{
    int64_t took_us = clock_monotonic_us() - show->since_us;
    struct buffer line = {0};
    char detail[512];
    va_list args;
    va_start(args, format);
    vsnprintf(detail, sizeof detail, format, args);
    va_end(args);
    if (show->json) {
        json_begin(&line, LOG_INFO, "step done");
        json_field(&line, "step", step);
        json_field(&line, "detail", detail);
        buffer_format(&line, ",\"took_ms\":%lld", (long long)(took_us / US_PER_MS));
        json_end(show, &line);
        return;
    }
    show_clear(show);
    terminal_print(show->terminal, "  %-11s %-46s %s%5.1f s%s", step, detail,
                   terminal_colour(show->terminal, COLOUR_DIM), (double)took_us / US_PER_SECOND,
                   terminal_colour(show->terminal, COLOUR_NONE));
}

void show_text(struct show *show, const char *format, ...)
{
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (!show->json)
        terminal_print(show->terminal, "%s", text);
}

static enum colour level_colour(enum log_level level)
{
    return level == LOG_ERROR ? COLOUR_RED : level == LOG_WARN ? COLOUR_YELLOW : COLOUR_NONE;
}

void show_remark(struct show *show, enum log_level level, const char *format, ...)
{
    char text[2048];
    struct buffer line = {0};
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (show->json) {
        json_begin(&line, level, text);
        json_end(show, &line);
    } else {
        terminal_print(show->terminal, "%s%s%s",
                       terminal_colour(show->terminal, level_colour(level)), text,
                       terminal_colour(show->terminal, COLOUR_NONE));
    }
}

void show_ready(struct show *show, const char *url, const char *data, int nodes)
{
    struct buffer line = {0};
    if (!show->json)
        return;
    json_begin(&line, LOG_INFO, "up ready");
    json_field(&line, "url", url);
    if (data != NULL)
        json_field(&line, "data", data);
    buffer_format(&line, ",\"nodes\":%d", nodes);
    json_end(show, &line);
}

void show_heading(struct show *show)
{
    if (!show->json)
        terminal_print(show->terminal, "%s%-12s  %-8s  %-34s  %-9s  %8s%s",
                       terminal_colour(show->terminal, COLOUR_DIM), "TIME", "NODE", "JOB / TRIGGER",
                       "OUTCOME", "TOOK", terminal_colour(show->terminal, COLOUR_NONE));
}

/* --- what nodes say --- */

/* What jobs print must not move the cursor or rename the window: control characters become spaces.
 */
static void disarm(char *text)
{
    for (; *text != '\0'; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7f)
            *text = ' ';
}

static char *raw_text_of(const struct json *json, const char *name)
{
    const struct json_value *value = json_get(json, &json->values[0], name);
    return value != NULL && value->type == JSON_STRING ? json_text(value) : NULL;
}

static char *text_of(const struct json *json, const char *name)
{
    char *text = raw_text_of(json, name);
    if (text != NULL)
        disarm(text);
    return text;
}

char *show_field(const char *line, size_t length, const char *message, const char *name)
{
    struct json json;
    char *text = NULL;
    if (length == 0 || line[0] != '{' || json_parse(&json, line, length, NULL) != 0)
        return NULL;
    const struct json_value *msg = json_get(&json, &json.values[0], "msg");
    if (msg != NULL && json_is(msg, message))
        text = text_of(&json, name);
    json_free(&json);
    return text;
}

/* 10:21:05.012, local time; a line without a readable time gets ours. */
static void local_time(const struct json *json, char text[32])
{
    char *written = text_of(json, "time");
    int64_t wall_us;
    struct tm parts;
    if (written == NULL || instant_parse(written, &wall_us) != 0)
        wall_us = clock_wall_us();
    time_t seconds = (time_t)(wall_us / US_PER_SECOND);
    localtime_r(&seconds, &parts);
    snprintf(text, 32, "%02d:%02d:%02d.%03d", parts.tm_hour, parts.tm_min, parts.tm_sec,
             (int)(wall_us / US_PER_MS % 1000));
    free(written);
}

static void duration_text(const struct json *json, char text[32])
{
    const struct json_value *value = json_get(json, &json->values[0], "duration_ms");
    double ms;
    if (value == NULL || json_double(value, &ms) != 0)
        snprintf(text, 32, "-");
    else if (ms < 10000)
        snprintf(text, 32, "%.0f ms", ms);
    else
        snprintf(text, 32, "%.1f s", ms / 1000);
}

/* The first line of what explains the run: the words of the failure, else its output. */
static char *explanation(const struct json *json)
{
    static const char *const names[] = {"message", "reason", "exception", "output"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char *text = raw_text_of(json, names[i]);
        if (text != NULL && *text != '\0') {
            size_t length = strcspn(text, "\n\r");
            text[length < DETAIL_MAX ? length : DETAIL_MAX] = '\0';
            disarm(text);
            return text;
        }
        free(text);
    }
    return mem_string("");
}

static enum colour outcome_colour(const char *outcome)
{
    if (strcmp(outcome, "success") == 0)
        return COLOUR_GREEN;
    return strcmp(outcome, "failed") == 0 ? COLOUR_RED : COLOUR_YELLOW;
}

static void show_run(struct show *show, const struct json *json, const char *node)
{
    struct terminal *terminal = show->terminal;
    char time[32], took[32];
    char *job = text_of(json, "job"), *trigger = text_of(json, "trigger");
    char *outcome = text_of(json, "outcome"), *why = explanation(json);
    char *what = trigger != NULL ? mem_format("%s / %s", job != NULL ? job : "?", trigger)
                                 : mem_string(job != NULL ? job : "?");
    const char *end = outcome != NULL ? outcome : "?";
    local_time(json, time);
    duration_text(json, took);
    terminal_print(terminal, "%s  %-8s  %-34s  %s%-9s%s  %8s%s%s%s%s", time, node, what,
                   terminal_colour(terminal, outcome_colour(end)), end,
                   terminal_colour(terminal, COLOUR_NONE), took, *why != '\0' ? "  " : "",
                   terminal_colour(terminal, COLOUR_DIM), why,
                   terminal_colour(terminal, COLOUR_NONE));
    free(what);
    free(why);
    free(outcome);
    free(trigger);
    free(job);
}

static bool is_head(const struct json_value *key)
{
    return json_is(key, "level") || json_is(key, "time") || json_is(key, "msg") ||
           json_is(key, "node");
}

/* "message  name=value name=value" */
static void show_message(struct show *show, const struct json *json, const char *node,
                         enum log_level level)
{
    struct terminal *terminal = show->terminal;
    struct buffer rest = {0};
    char time[32], *message = text_of(json, "msg");
    for (const struct json_value *key = json_first(json, &json->values[0]); key != NULL;
         key = json_next(json, key)) {
        const struct json_value *value = json_member(key);
        if (is_head(key))
            continue;
        buffer_format(&rest, "  %.*s=%.*s", (int)key->raw.length - 2, key->raw.data + 1,
                      (int)value->raw.length, value->raw.data);
    }
    local_time(json, time);
    terminal_print(terminal, "%s  %-8s  %s%s%s: %s%s", time, node,
                   terminal_colour(terminal, level_colour(level)), log_level_name(level),
                   terminal_colour(terminal, COLOUR_NONE), message != NULL ? message : "",
                   buffer_text(&rest));
    buffer_free(&rest);
    free(message);
}

static void show_json_line(struct show *show, const struct json *json, const char *node)
{
    const struct json_value *msg = json_get(json, &json->values[0], "msg");
    enum log_level level = LOG_INFO;
    char *word = text_of(json, "level");
    if (word == NULL || log_level_parse(word, &level) != 0)
        level = LOG_INFO;
    free(word);
    if (msg != NULL && json_is(msg, "run finished"))
        show_run(show, json, node);
    else if (level >= LOG_WARN || show->verbose)
        show_message(show, json, node, level);
}

void show_node_line(struct show *show, const char *node, const char *line, size_t length)
{
    struct json json;
    if (show->json) {
        terminal_raw(show->terminal, line, length);
    } else if (length > 0 && line[0] == '{' && json_parse(&json, line, length, NULL) == 0) {
        show_json_line(show, &json, node);
        json_free(&json);
    } else {
        char *copy = mem_string_n(line, length);
        disarm(copy);
        terminal_print(show->terminal, "%-12s  %-8s  %s", "", node, copy);
        free(copy);
    }
}

void show_step_line(struct show *show, const char *line, size_t length)
{
    struct buffer text = {0};
    if (show->json) {
        char *copy = mem_string_n(line, length);
        json_begin(&text, LOG_INFO, copy);
        json_end(show, &text);
        free(copy);
    } else {
        terminal_print(show->terminal, "              %.*s", (int)length, line);
    }
}
