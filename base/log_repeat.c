/* Repetitions in the log: see log_repeat.h. */
#include "base/log_repeat.h"

#include "base/log.h"
#include "base/memory.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define MESSAGES_MAX 64 /* messages in trouble at the same time; of more nothing is left out */

struct repeat {
    char *message; /* a copy: those with a name in them are not constant */
    int64_t since_us;
    int64_t written, left_out;
};

struct log_repeats {
    pthread_mutex_t lock;
    struct repeat repeats[MESSAGES_MAX];
    int count;
    int64_t suppressed;
};

struct log_repeats *log_repeats_new(void)
{
    struct log_repeats *repeats = mem_alloc(sizeof *repeats);
    pthread_mutex_init(&repeats->lock, NULL);
    return repeats;
}

void log_repeats_free(struct log_repeats *repeats)
{
    if (repeats == NULL)
        return;
    for (int i = 0; i < repeats->count; i++)
        free(repeats->repeats[i].message);
    pthread_mutex_destroy(&repeats->lock);
    free(repeats);
}

static bool is_over(const struct repeat *repeat, int64_t now_us)
{
    return now_us - repeat->since_us >= LOG_WINDOW_US;
}

/* A place whose window is over and that owes no count is free. */
static struct repeat *place_for(struct log_repeats *repeats, const char *message, int64_t now_us)
{
    struct repeat *unused = NULL;
    for (int i = 0; i < repeats->count; i++) {
        struct repeat *repeat = &repeats->repeats[i];
        if (strcmp(repeat->message, message) == 0)
            return repeat;
        if (repeat->left_out == 0 && is_over(repeat, now_us))
            unused = repeat;
    }
    if (unused == NULL && repeats->count == MESSAGES_MAX)
        return NULL;
    if (unused == NULL)
        unused = &repeats->repeats[repeats->count++];
    free(unused->message);
    *unused = (struct repeat){.message = mem_string(message), .since_us = now_us};
    return unused;
}

static bool pass(struct log_repeats *repeats, struct repeat *repeat, int64_t now_us,
                 int64_t *ret_left_out)
{
    if (is_over(repeat, now_us)) {
        *ret_left_out = repeat->left_out;
        repeat->since_us = now_us;
        repeat->written = repeat->left_out = 0;
    }
    if (repeat->written++ < LOG_BURST)
        return true;
    repeat->left_out++;
    repeats->suppressed++;
    return false;
}

bool log_repeats_pass(struct log_repeats *repeats, const char *message, int64_t now_us,
                      int64_t *ret_left_out)
{
    *ret_left_out = 0;
    pthread_mutex_lock(&repeats->lock);
    struct repeat *repeat = place_for(repeats, message, now_us);
    bool written = repeat == NULL || pass(repeats, repeat, now_us, ret_left_out);
    pthread_mutex_unlock(&repeats->lock);
    return written;
}

/* The next count to be told; its message is the caller's. */
static char *take_count(struct log_repeats *repeats, int64_t now_us, int64_t *ret_left_out)
{
    char *message = NULL;
    pthread_mutex_lock(&repeats->lock);
    for (int i = 0; i < repeats->count && message == NULL; i++) {
        struct repeat *repeat = &repeats->repeats[i];
        if (repeat->left_out == 0 || !is_over(repeat, now_us))
            continue;
        message = mem_string(repeat->message);
        *ret_left_out = repeat->left_out;
        repeat->left_out = 0;
    }
    pthread_mutex_unlock(&repeats->lock);
    return message;
}

void log_repeats_flush(const struct log *log, int64_t now_us)
{
    int64_t left_out = 0;
    char *message;
    if (log->repeats == NULL)
        return;
    while ((message = take_count(log->repeats, now_us, &left_out)) != NULL) {
        log_info(log, "lines left out: one message came too often", LOG_TEXT("message", message),
                 LOG_INT("repeated", left_out));
        free(message);
    }
}

int64_t log_suppressed(const struct log *log)
{
    int64_t suppressed = 0;
    if (log->repeats == NULL)
        return 0;
    pthread_mutex_lock(&log->repeats->lock);
    suppressed = log->repeats->suppressed;
    pthread_mutex_unlock(&log->repeats->lock);
    return suppressed;
}
