/* Log lines: see log.h. */
#include "base/log.h"

#include "base/buffer.h"
#include "base/clock.h"
#include "base/instant.h"
#include "base/log_repeat.h"
#include "base/text.h"

#include <errno.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

static const char *const level_names[] = {"debug", "info", "warn", "error"};

const char *log_level_name(enum log_level level)
{
    return level_names[level];
}

void log_set_level(struct log *log, enum log_level level)
{
    __atomic_store_n(&log->level, level, __ATOMIC_RELAXED);
}

enum log_level log_level(const struct log *log)
{
    return __atomic_load_n(&log->level, __ATOMIC_RELAXED);
}

int log_level_parse(const char *text, enum log_level *ret_level)
{
    for (int i = 0; i < 4; i++) {
        if (strcasecmp(text, level_names[i]) == 0) {
            *ret_level = (enum log_level)i;
            return 0;
        }
    }
    return -1;
}

/* A word that people read without quotes, and that cannot move the terminal's cursor. */
static bool is_word(const char *text)
{
    const char *at = text;
    while ((unsigned char)*at > ' ' && *at != '"' && *at != '\\' && *at != 0x7f)
        at++;
    return *at == '\0' && at > text && text_is_utf8(text, (size_t)(at - text));
}

/* JSON of somebody else: a line break in it would end our line. */
static void put_raw(struct buffer *line, const char *json)
{
    for (; *json != '\0'; json++)
        buffer_char(line, *json == '\n' || *json == '\r' ? ' ' : *json);
}

static void put_value(struct buffer *line, const struct log_field *field, bool text)
{
    if ((field->kind == 's' || field->kind == 'r') && field->text == NULL) {
        buffer_string(line, text ? "-" : "null");
        return;
    }
    switch (field->kind) {
    case 's':
        if (text && is_word(field->text))
            buffer_string(line, field->text);
        else
            buffer_json(line, field->text, strlen(field->text));
        return;
    case 'i':
        buffer_int(line, field->number);
        return;
    case 'b':
        buffer_string(line, field->number ? "true" : "false");
        return;
    default:
        put_raw(line, field->text);
    }
}

static void write_all(int fd, const char *data, size_t length)
{
    while (length > 0) {
        ssize_t done = write(fd, data, length);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return; /* nobody reads the log: there is nowhere to say so */
        data += done;
        length -= (size_t)done;
    }
}

static void put_json(struct buffer *line, const struct log *log, enum log_level level,
                     const char *now, const char *message)
{
    buffer_format(line, "{\"level\":\"%s\",\"time\":\"%s\",\"msg\":", level_names[level], now);
    buffer_json(line, message, strlen(message));
    if (log->node != NULL) {
        buffer_string(line, ",\"node\":");
        buffer_json(line, log->node, strlen(log->node));
    }
}

static void put_field(struct buffer *line, const struct log_field *field, bool text)
{
    buffer_format(line, text ? " %s=" : ",\"%s\":", field->name);
    put_value(line, field, text);
}

static bool is_left_out(const struct log *log, enum log_level level, const char *message,
                        int64_t *ret_repeated)
{
    return log->repeats != NULL && level >= LOG_WARN &&
           !log_repeats_pass(log->repeats, message, clock_monotonic_us(), ret_repeated);
}

void log_write(const struct log *log, enum log_level level, const char *message,
               const struct log_field *fields, int count)
{
    int64_t repeated = 0;
    if (level < log_level(log) || is_left_out(log, level, message, &repeated))
        return;
    struct buffer line = {0};
    char now[TIME_TEXT_SIZE];
    instant_format(clock_wall_us(), now);
    if (log->text)
        buffer_format(&line, "%.12s %-5s %s%s%s", now + 11, level_names[level],
                      log->node != NULL ? log->node : "", log->node != NULL ? ": " : "", message);
    else
        put_json(&line, log, level, now, message);
    for (int i = 0; i < count; i++)
        put_field(&line, &fields[i], log->text);
    if (repeated > 0)
        put_field(&line, &LOG_INT("repeated", repeated), log->text);
    buffer_string(&line, log->text ? "\n" : "}\n");
    write_all(log->fd, line.data, line.length);
    buffer_free(&line);
}
