/*
 * Repetitions in the log: of one message at most LOG_BURST lines are written in LOG_WINDOW_US; the
 * rest is counted, and the count follows with the next line of it, or by itself when the window is
 * over. Of warnings and errors alone: what is said at other levels is one line per thing that
 * somebody asked to see. Any thread may write.
 */
#ifndef BASE_LOG_REPEAT_H
#define BASE_LOG_REPEAT_H

#include <stdbool.h>
#include <stdint.h>

#define LOG_BURST     20
#define LOG_WINDOW_US INT64_C(10000000)

struct log;
struct log_repeats;

struct log_repeats *log_repeats_new(void);
void log_repeats_free(struct log_repeats *repeats); /* NULL is fine */

/* Whether this line is to be written; *ret_left_out: so many before it were not. */
bool log_repeats_pass(struct log_repeats *repeats, const char *message, int64_t now_us,
                      int64_t *ret_left_out);

/* To be called now and then: lines with the counts that no line of theirs has taken along. */
void log_repeats_flush(const struct log *log, int64_t now_us);

#endif
