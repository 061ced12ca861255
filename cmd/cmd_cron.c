/*
 * `rota cron`: explains a cron expression in words and lists its next occurrences; with --stdin it
 * answers one question a line, for scripts and tests. Needs no database.
 */
#include "base/buffer.h"
#include "base/clock.h"
#include "base/instant.h"
#include "base/memory.h"
#include "base/text.h"
#include "cmd/cmd.h"
#include "coord/schedule/cron.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define COUNT_DEFAULT  5
#define COUNT_MAX      100000
#define LINE_MAX_BYTES 65536 /* far more than the longest expression, and a bound on memory */
#define CHUNK_BYTES    65536

static const char help_text[] =
    "Usage: rota cron EXPR [--tz ZONE] [--after TIME] [--count N] [--name NAME] [--json]\n"
    "       rota cron --stdin [--name NAME]\n"
    "\n"
    "Explains a cron expression in words and lists its next occurrences.\n"
    "EXPR, in quotes: Quartz's 6 or 7 fields (second minute hour day month weekday [year]), the 5 "
    "of\n"
    "Unix (minute hour day month weekday), or @yearly @monthly @weekly @daily @hourly.\n"
    "\n"
    "  --tz ZONE     IANA zone the expression is read in (default: UTC)\n"
    "  --after TIME  list occurrences after this: RFC 3339 or epoch seconds (default: now)\n"
    "  --count N     how many, 1 to 100000 (default: 5)\n"
    "  --name NAME   the trigger's name, which H is spread by\n"
    "  --json        one JSON document\n"
    "  --stdin       reads lines EXPR<TAB>ZONE<TAB>AFTER_EPOCH<TAB>COUNT and answers each with\n"
    "                comma-separated epoch seconds (\"none\" where the schedule ends), or\n"
    "                \"error: why\"\n";

struct options {
    const char *expression;
    const char *zone;
    const char *after;
    const char *count;
    const char *name;
    bool json;
    bool from_stdin;
    bool help;
};

/* What is asked, checked. */
struct question {
    struct zone *zone; /* ours */
    struct cron cron;
    int64_t after_s;
    int64_t count;
};

static int parse_count(const char *text, size_t length, int64_t *ret_count,
                       struct rota_error *error)
{
    if (text_int64(text, length, ret_count) != 0 || *ret_count < 1 || *ret_count > COUNT_MAX)
        return error_set(error, ERROR_REFUSED, "count \"%.20s\": expected a number from 1 to %d",
                         text, COUNT_MAX);
    return 0;
}

static int parse_after(const char *text, int64_t *ret_after_s, struct rota_error *error)
{
    int64_t after_us;
    if (text == NULL) {
        *ret_after_s = clock_wall_us() / US_PER_SECOND;
        return 0;
    }
    if (text_int64(text, strlen(text), ret_after_s) == 0)
        return 0;
    if (instant_parse(text, &after_us) != 0)
        return error_set(error, ERROR_REFUSED,
                         "after \"%.40s\": expected an instant such as 2026-03-29T00:00:00Z, or "
                         "epoch seconds",
                         text);
    /* Rounded down: what lies within the same second is still to come. */
    *ret_after_s = after_us / US_PER_SECOND - (after_us % US_PER_SECOND < 0);
    return 0;
}

static void local_text(const struct zone *zone, int64_t instant_s, char text[TIME_TEXT_SIZE])
{
    char utc[TIME_TEXT_SIZE];
    /* RFC 3339 knows no seconds in an offset, which a few zones had: the clock is shown as if it
     * were set to the minute, so that the text is still the right instant. */
    int offset_s = zone_offset(zone, instant_s) / 60 * 60, size_s = abs(offset_s);
    instant_format((instant_s + offset_s) * US_PER_SECOND, utc);
    utc[19] = '\0'; /* without fraction and Z */
    snprintf(text, TIME_TEXT_SIZE, "%.19s%c%02d:%02d", utc, offset_s < 0 ? '-' : '+', size_s / 3600,
             size_s / 60 % 60);
}

static void print_text(const struct question *question)
{
    struct buffer out = {0};
    char local[TIME_TEXT_SIZE], utc[TIME_TEXT_SIZE];
    int64_t at_s = question->after_s, left = question->count;
    cron_describe(&question->cron, &out);
    buffer_char(&out, '\n');
    if (zone_find(question->zone, at_s) + 1 < zone_span_count(question->zone)) {
        cron_describe_clock_change(&question->cron, &out);
        buffer_char(&out, '\n');
    }
    for (; left > 0 && (at_s = cron_next(&question->cron, at_s)) != CRON_NONE; left--) {
        local_text(question->zone, at_s, local);
        instant_format(at_s * US_PER_SECOND, utc);
        buffer_format(&out, "%s  %.19sZ  %lld\n", local, utc, (long long)at_s);
    }
    if (left > 0)
        buffer_string(&out, left == question->count ? "It never occurs after that time.\n"
                                                    : "No further occurrence.\n");
    fwrite(out.data, 1, out.length, stdout);
    buffer_free(&out);
}

static void print_json(const struct question *question, const char *expression)
{
    struct buffer words = {0};
    char local[TIME_TEXT_SIZE];
    cJSON *document = cJSON_CreateObject();
    cJSON_AddStringToObject(document, "expression", expression);
    cJSON_AddStringToObject(document, "timezone", zone_name(question->zone));
    cron_describe(&question->cron, &words);
    cJSON_AddStringToObject(document, "description", buffer_text(&words));
    cJSON *next = cJSON_AddArrayToObject(document, "next");
    cJSON *next_epoch = cJSON_AddArrayToObject(document, "next_epoch");
    int64_t at_s = question->after_s;
    for (int64_t i = 0; i < question->count; i++) {
        at_s = cron_next(&question->cron, at_s);
        if (at_s == CRON_NONE)
            break;
        local_text(question->zone, at_s, local);
        cJSON_AddItemToArray(next, cJSON_CreateString(local));
        cJSON_AddItemToArray(next_epoch, cJSON_CreateNumber((double)at_s));
    }
    char *text = cJSON_PrintUnformatted(document);
    printf("%s\n", text);
    free(text);
    cJSON_Delete(document);
    buffer_free(&words);
}

/* Fills the question from the texts; the zone is the caller's to drop. */
static int ask(struct question *question, struct zone_cache *zones, const char *expression,
               const char *zone, const char *name, struct rota_error *error)
{
    question->zone = zone_open(zones, zone, error);
    if (question->zone == NULL)
        return -1;
    return cron_parse(&question->cron, expression, question->zone, name, error);
}

static int answer_arguments(const struct options *options)
{
    struct rota_error error = {0};
    struct question question = {.count = COUNT_DEFAULT};
    struct zone_cache *zones = zone_cache_new();
    int code = ERROR_NONE;
    if (ask(&question, zones, options->expression, options->zone, options->name, &error) != 0 ||
        parse_after(options->after, &question.after_s, &error) != 0 ||
        (options->count != NULL &&
         parse_count(options->count, strlen(options->count), &question.count, &error) != 0))
        code = cmd_fail("cron", &error);
    else if (options->json)
        print_json(&question, options->expression);
    else
        print_text(&question);
    if (code == ERROR_NONE && fflush(stdout) != 0) {
        error_set(&error, ERROR_REFUSED, "cannot write the answer: %s", strerror(errno));
        code = cmd_fail("cron", &error);
    }
    zone_unref(question.zone);
    zone_cache_free(zones);
    return code;
}

/* The line's four columns, cut from its end, so that tabs may stand between the fields of EXPR. */
static int split_line(char *line, char *columns[4], struct rota_error *error)
{
    for (int i = 3; i > 0; i--) {
        char *tab = strrchr(line, '\t');
        if (tab == NULL)
            return error_set(error, ERROR_REFUSED,
                             "line: %d of 4 columns: expected "
                             "EXPR<TAB>ZONE<TAB>AFTER_EPOCH<TAB>COUNT",
                             4 - i);
        *tab = '\0';
        columns[i] = tab + 1;
    }
    columns[0] = line;
    return 0;
}

static int parse_line(char *line, struct zone_cache *zones, const char *name,
                      struct question *question, struct rota_error *error)
{
    char *columns[4] = {NULL};
    if (split_line(line, columns, error) != 0)
        return -1;
    if (text_int64(columns[2], strlen(columns[2]), &question->after_s) != 0)
        return error_set(error, ERROR_REFUSED, "after \"%.40s\": expected epoch seconds",
                         columns[2]);
    if (parse_count(columns[3], strlen(columns[3]), &question->count, error) != 0)
        return -1;
    return ask(question, zones, columns[0], columns[1], name, error);
}

static void append_error(const struct rota_error *error, struct buffer *out)
{
    buffer_string(out, "error: ");
    for (const char *at = error->message; *at != '\0'; at++)
        buffer_char(out, (unsigned char)*at < ' ' || *at == 127 ? '?' : *at);
}

/* "none" stands where the schedule ends before the count is full. */
static void append_epochs(const struct question *question, struct buffer *out)
{
    int64_t at_s = question->after_s;
    for (int64_t i = 0; i < question->count && at_s != CRON_NONE; i++) {
        at_s = cron_next(&question->cron, at_s);
        if (i > 0)
            buffer_char(out, ',');
        if (at_s == CRON_NONE)
            buffer_string(out, "none");
        else
            buffer_int(out, at_s);
    }
}

static void answer_line(char *line, size_t length, struct zone_cache *zones, const char *name,
                        struct buffer *out)
{
    struct rota_error error = {0};
    struct question question = {0};
    if (length > 0 && line[length - 1] == '\r')
        length--;
    line[length] = '\0';
    if (strlen(line) != length) {
        error_set(&error, ERROR_REFUSED, "line: it holds a NUL byte");
        append_error(&error, out);
    } else if (parse_line(line, zones, name, &question, &error) != 0) {
        append_error(&error, out);
    } else {
        append_epochs(&question, out);
    }
    zone_unref(question.zone);
    buffer_char(out, '\n');
}

/* The answering machine behind --stdin. */
struct answers {
    struct buffer in;
    struct buffer out;
    struct zone_cache *zones;
    const char *name; /* what H is spread by */
    bool skipping;    /* the rest of a line that was too long, and is answered */
};

static int write_answers(struct answers *answers, struct rota_error *error)
{
    struct buffer *out = &answers->out;
    while (out->length > 0) {
        ssize_t count = write(STDOUT_FILENO, out->data, out->length);
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0)
            return error_set(error, ERROR_REFUSED, "cannot write the answers: %s", strerror(errno));
        buffer_consume(out, (size_t)count);
    }
    return 0;
}

/* One line, or what is there of it; `ends` if its end is there too. */
static void take_line(struct answers *answers, char *line, size_t length, bool ends)
{
    if (answers->skipping) {
        answers->skipping = !ends;
    } else if (length > LINE_MAX_BYTES) {
        buffer_format(&answers->out, "error: line: longer than %d bytes\n", LINE_MAX_BYTES);
        answers->skipping = !ends;
    } else {
        answer_line(line, length, answers->zones, answers->name, &answers->out);
    }
}

/* Takes the whole lines that are there, and at the end of input the rest too. */
static int take_lines(struct answers *answers, bool at_end, struct rota_error *error)
{
    struct buffer *in = &answers->in;
    size_t start = 0;
    while (start < in->length) {
        char *line = in->data + start;
        char *newline = memchr(line, '\n', in->length - start);
        size_t length = newline != NULL ? (size_t)(newline - line) : in->length - start;
        if (newline == NULL && !at_end && !answers->skipping && length <= LINE_MAX_BYTES)
            break;
        take_line(answers, line, length, newline != NULL);
        start += newline != NULL ? length + 1 : length;
        if (answers->out.length >= CHUNK_BYTES && write_answers(answers, error) != 0)
            return -1;
    }
    buffer_consume(in, start);
    return 0;
}

/* Answers are written before each read that may wait, so that a program can ask and listen. */
static int answer_input(struct answers *answers, struct rota_error *error)
{
    for (;;) {
        /* One byte more: the last line gets its NUL there. */
        char *room = buffer_reserve(&answers->in, CHUNK_BYTES + 1);
        ssize_t count = read(STDIN_FILENO, room, CHUNK_BYTES);
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0)
            return error_set(error, ERROR_REFUSED, "cannot read standard input: %s",
                             strerror(errno));
        answers->in.length += (size_t)count;
        if (take_lines(answers, count == 0, error) != 0 || write_answers(answers, error) != 0)
            return -1;
        if (count == 0)
            return 0;
    }
}

static int answer_stdin(const char *name)
{
    struct rota_error error = {0};
    struct answers answers = {.zones = zone_cache_new(), .name = name};
    int code = answer_input(&answers, &error) != 0 ? cmd_fail("cron", &error) : ERROR_NONE;
    buffer_free(&answers.in);
    buffer_free(&answers.out);
    zone_cache_free(answers.zones);
    return code;
}

/* The place for the value of an option that takes one; NULL: no such option. */
static const char **option_value(struct options *options, const char *name, size_t length)
{
    const struct {
        const char *name;
        const char **value;
    } known[] = {{"--tz", &options->zone},
                 {"--after", &options->after},
                 {"--count", &options->count},
                 {"--name", &options->name}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strlen(known[i].name) == length && strncmp(known[i].name, name, length) == 0)
            return known[i].value;
    return NULL;
}

/* Not getopt: an expression may begin with a minus (and is then refused with the reason). */
static int parse_options(int argc, char **argv, struct options *options)
{
    for (int i = 1; i < argc; i++) {
        const char *equals = strchr(argv[i], '=');
        size_t length = equals != NULL ? (size_t)(equals - argv[i]) : strlen(argv[i]);
        const char **value = option_value(options, argv[i], length);
        if (value != NULL) {
            if (equals == NULL && i + 1 == argc)
                return cmd_usage("cron", "%s: its value is missing", argv[i]);
            *value = equals != NULL ? equals + 1 : argv[++i];
        } else if (strcmp(argv[i], "--json") == 0) {
            options->json = true;
        } else if (strcmp(argv[i], "--stdin") == 0) {
            options->from_stdin = true;
        } else if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            options->help = true;
        } else if (strncmp(argv[i], "--", 2) == 0) {
            return cmd_usage("cron", "unknown option %.60s", argv[i]);
        } else if (options->expression != NULL) {
            return cmd_usage(
                "cron", "unexpected \"%.60s\": the expression is one argument, in quotes", argv[i]);
        } else {
            options->expression = argv[i];
        }
    }
    return 0;
}

int cmd_cron(int argc, char **argv)
{
    struct options options = {0};
    int code = parse_options(argc, argv, &options);
    if (code != 0)
        return code;
    if (options.help) {
        fputs(help_text, stdout);
        return ERROR_NONE;
    }
    if (options.from_stdin) {
        bool more = options.expression != NULL || options.zone != NULL || options.after != NULL ||
                    options.count != NULL || options.json;
        return more ? cmd_usage("cron",
                                "--stdin takes no option but --name: each line has its own columns")
                    : answer_stdin(options.name);
    }
    if (options.expression == NULL)
        return cmd_usage("cron", "the expression is missing, such as \"0 30 2 * * ?\"");
    return answer_arguments(&options);
}
