/*
 * One JSON object a line on stderr (or text for people): level, time, msg, node, then fields.
 * Messages are constant texts; what varies goes into fields:
 *     log_info(log, "node registered", LOG_INT("incarnation", id), LOG_TEXT("version", v));
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };

struct log_repeats; /* log_repeat.h */

struct log {
    enum log_level level; /* lines below it are not written; set by log_set_level() once in use */
    bool text;            /* for people instead of JSON */
    const char *node;     /* of every line; NULL: none */
    int fd;               /* 2 unless a test says otherwise */
    struct log_repeats *repeats; /* NULL: repetitions are written like any line */
};

struct log_field {
    const char *name;
    char kind; /* 's' text, 'i' number, 'b' bool, 'r' raw JSON */
    const char *text;
    int64_t number;
};

#define LOG_TEXT(name, value) ((struct log_field){name, 's', value, 0})
#define LOG_INT(name, value)  ((struct log_field){name, 'i', 0, (int64_t)(value)})
#define LOG_BOOL(name, value) ((struct log_field){name, 'b', 0, (value) ? 1 : 0})
#define LOG_RAW(name, value)  ((struct log_field){name, 'r', value, 0})

/* A line is one write(2), so that lines of several processes on one descriptor do not mix. */
void log_write(const struct log *log, enum log_level level, const char *message,
               const struct log_field *fields, int count);

#define LOG_FIELDS(...)                                                                            \
    (const struct log_field[])                                                                     \
    {                                                                                              \
        {0}, ##__VA_ARGS__                                                                         \
    }
#define LOG_LINE(log, level, message, ...)                                                         \
    log_write(log, level, message, LOG_FIELDS(__VA_ARGS__) + 1,                                    \
              (int)(sizeof(LOG_FIELDS(__VA_ARGS__)) / sizeof(struct log_field)) - 1)
#define log_debug(log, message, ...)                                                               \
    do {                                                                                           \
        if (log_level(log) <= LOG_DEBUG)                                                           \
            LOG_LINE(log, LOG_DEBUG, message, ##__VA_ARGS__);                                      \
    } while (0)
#define log_info(log, message, ...)  LOG_LINE(log, LOG_INFO, message, ##__VA_ARGS__)
#define log_warn(log, message, ...)  LOG_LINE(log, LOG_WARN, message, ##__VA_ARGS__)
#define log_error(log, message, ...) LOG_LINE(log, LOG_ERROR, message, ##__VA_ARGS__)

/* At run time, whatever thread writes at that moment. */
void log_set_level(struct log *log, enum log_level level);
enum log_level log_level(const struct log *log);
int64_t log_suppressed(const struct log *log); /* lines left out as repetitions, ever */

int log_level_parse(const char *text, enum log_level *ret_level); /* 0 or -1 */
const char *log_level_name(enum log_level level);

#endif
