/*
 * What the worker in one place can run: the handlers it named, earlier names of them, its version;
 * and what it refuses all the same, which it is not given for a while. Who cannot be given a
 * handler does not announce it either, so that other nodes take what waits for it.
 */
#include "worker/pool.h"

#include "base/clock.h"
#include "base/memory.h"
#include "base/text.h"

#include <stdlib.h>
#include <string.h>

#define REFUSED_FIRST_US US_PER_SECOND        /* after the first refusal; it doubles … */
#define REFUSED_MAX_US   (60 * US_PER_SECOND) /* … up to this: so late is noticed what was cured */
#define VERSIONS_MAX     16                   /* of one handler on one node that are told */

/* A handler of the pool under another name: index of the old one, name of the new one. */
struct stand_in {
    int old;
    char *new;
};

struct refusal {
    int handler;
    int64_t wait_us;  /* the newest pause */
    int64_t until_us; /* monotonic */
};

static bool has_bit(const uint64_t *bits, int index)
{
    return (bits[index / 64] >> (index % 64) & 1) != 0;
}

static void set_bit(uint64_t *bits, int index, bool value)
{
    uint64_t bit = UINT64_C(1) << (index % 64);
    bits[index / 64] = value ? bits[index / 64] | bit : bits[index / 64] & ~bit;
}

static void news(struct process *process)
{
    process->workers->counts.news++;
    workers_changed(process->workers);
}

/* --- hello --- */

static bool names(const struct protocol_message *hello, const char *handler)
{
    for (size_t i = 0; i < hello->handler_count; i++)
        if (strcmp(hello->handlers[i], handler) == 0)
            return true;
    return false;
}

char *capability_check(const struct protocol_message *hello)
{
    for (size_t i = 0; i < hello->alias_count; i++) {
        const struct worker_alias *alias = &hello->aliases[i];
        if (names(hello, alias->new))
            continue;
        for (size_t k = 0; k < hello->alias_count; k++)
            if (strcmp(hello->aliases[k].old, alias->new) == 0)
                return mem_format("in the aliases of its hello \"%.100s\" stands for \"%.100s\", "
                                  "which is an alias itself: name the handler \"%.100s\" there",
                                  alias->old, alias->new, hello->aliases[k].new);
        return mem_format("in the aliases of its hello \"%.100s\" stands for \"%.100s\", which is "
                          "none of its handlers",
                          alias->old, alias->new);
    }
    return NULL;
}

static void add_stand_in(struct process *process, const struct worker_alias *alias)
{
    struct capability *can = &process->capability;
    int old = pool_handler(process->pool, alias->old, true);
    if (old < 0 || has_bit(can->named, old))
        return; /* no room, of which the log says so; or the hello had it already */
    set_bit(can->named, old, true);
    can->stand_ins = mem_resize(can->stand_ins, can->stand_in_count + 1, sizeof *can->stand_ins);
    can->stand_ins[can->stand_in_count++] = (struct stand_in){old, mem_string(alias->new)};
}

static void warn_alias(const struct process *process, const struct worker_alias *alias,
                       const char *what)
{
    log_warn(process->workers->log, what, LOG_TEXT("pool", process->pool->name),
             LOG_TEXT("alias", alias->old), LOG_TEXT("handler", alias->new));
}

/* Aliases of the worker itself first: it knows better than the settings. */
static void take_aliases(struct process *process, const struct protocol_message *hello, bool first)
{
    const struct pool *pool = process->pool;
    for (size_t i = 0; i < hello->alias_count; i++) {
        if (!names(hello, hello->aliases[i].old))
            add_stand_in(process, &hello->aliases[i]);
        else if (first)
            warn_alias(process, &hello->aliases[i],
                       "alias ignored: the worker serves the handler of that name itself");
    }
    for (size_t i = 0; i < pool->alias_count; i++) {
        if (names(hello, pool->aliases[i].new) && !names(hello, pool->aliases[i].old))
            add_stand_in(process, &pool->aliases[i]);
        else if (first && names(hello, pool->aliases[i].old))
            warn_alias(process, &pool->aliases[i],
                       "alias ignored: the worker serves the handler of that name itself");
        else if (first)
            warn_alias(process, &pool->aliases[i],
                       "alias ignored: the worker does not serve what it stands for");
    }
}

static void forget_stand_ins(struct capability *can)
{
    for (size_t i = 0; i < can->stand_in_count; i++)
        free(can->stand_ins[i].new);
    free(can->stand_ins);
    can->stand_ins = NULL;
    can->stand_in_count = 0;
}

/* Up to a length that is a version and no text, in whole characters. */
static void take_version(struct capability *can, struct slice version)
{
    size_t length = 0, step = 0;
    while (length < version.length &&
           (step = text_utf8_length(version.data + length, version.length - length)) > 0 &&
           length + step < sizeof can->version)
        length += step;
    if (length > 0)
        memcpy(can->version, version.data, length);
    can->version[length] = '\0';
}

/* What is refused stays so, unless the worker does not name it any more. */
static void keep_refusals(struct process *process)
{
    struct capability *can = &process->capability;
    size_t kept = 0;
    for (size_t i = 0; i < can->refusal_count; i++) {
        const struct refusal refusal = can->refusals[i];
        if (!has_bit(can->named, refusal.handler))
            continue;
        if (refusal.until_us > clock_monotonic_us())
            set_bit(process->handlers, refusal.handler, false);
        can->refusals[kept++] = refusal;
    }
    can->refusal_count = kept;
}

void capability_hello(struct process *process, const struct protocol_message *hello, bool first)
{
    struct capability *can = &process->capability;
    memset(can->named, 0, sizeof can->named);
    memset(process->handlers, 0, sizeof process->handlers); /* their names may make room */
    forget_stand_ins(can);
    for (size_t i = 0; i < hello->handler_count; i++) {
        bool serves = pool_serves(process->pool, hello->handlers[i]);
        int index = serves ? pool_handler(process->pool, hello->handlers[i], true) : -1;
        if (index >= 0)
            set_bit(can->named, index, true);
    }
    take_aliases(process, hello, first);
    take_version(can, hello->version);
    memcpy(process->handlers, can->named, sizeof process->handlers);
    keep_refusals(process);
    news(process);
}

const char *capability_name(const struct process *process, int handler, const char *name)
{
    const struct capability *can = &process->capability;
    for (size_t i = 0; i < can->stand_in_count; i++)
        if (can->stand_ins[i].old == handler)
            return can->stand_ins[i].new;
    return name;
}

/* --- refusals --- */

static void set_timer(struct process *process)
{
    struct capability *can = &process->capability;
    int64_t now_us = clock_monotonic_us(), next_us = INT64_MAX;
    for (size_t i = 0; i < can->refusal_count; i++)
        if (can->refusals[i].until_us < next_us &&
            !has_bit(process->handlers, can->refusals[i].handler))
            next_us = can->refusals[i].until_us;
    if (next_us == INT64_MAX)
        return;
    struct timeval pause = clock_timeval(next_us > now_us ? next_us - now_us : 0);
    evtimer_add(can->again, &pause);
}

static void on_again(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct process *process = arg;
    struct capability *can = &process->capability;
    int64_t now_us = clock_monotonic_us();
    for (size_t i = 0; i < can->refusal_count; i++)
        if (can->refusals[i].until_us <= now_us)
            set_bit(process->handlers, can->refusals[i].handler, true);
    set_timer(process);
    news(process);
}

static struct refusal *find_refusal(struct capability *can, int handler)
{
    for (size_t i = 0; i < can->refusal_count; i++)
        if (can->refusals[i].handler == handler)
            return &can->refusals[i];
    return NULL;
}

void capability_refused(struct process *process, int handler)
{
    struct capability *can = &process->capability;
    struct refusal *refusal = find_refusal(can, handler);
    if (!has_bit(process->handlers, handler))
        return; /* it had several of them, and the first answer has told */
    if (refusal == NULL) {
        can->refusals = mem_resize(can->refusals, can->refusal_count + 1, sizeof *can->refusals);
        refusal = &can->refusals[can->refusal_count++];
        *refusal = (struct refusal){.handler = handler};
    }
    refusal->wait_us = refusal->wait_us == 0 ? REFUSED_FIRST_US : 2 * refusal->wait_us;
    if (refusal->wait_us > REFUSED_MAX_US)
        refusal->wait_us = REFUSED_MAX_US;
    refusal->until_us = clock_monotonic_us() + refusal->wait_us;
    set_bit(process->handlers, handler, false);
    if (can->again == NULL)
        can->again = evtimer_new(process->workers->base, on_again, process);
    set_timer(process);
    log_warn(process->workers->log,
             "worker refuses a handler that it has named: it gets none of it for a while",
             LOG_TEXT("pool", process->pool->name), LOG_INT("pid", process->pid),
             LOG_TEXT("handler", process->pool->handlers[handler]),
             LOG_INT("wait_ms", refusal->wait_us / US_PER_MS));
    news(process);
}

void capability_known(struct process *process, int handler)
{
    struct capability *can = &process->capability;
    struct refusal *refusal = can->refusal_count > 0 ? find_refusal(can, handler) : NULL;
    if (refusal == NULL || !has_bit(process->handlers, handler))
        return; /* what ends now may have begun before the refusal */
    *refusal = can->refusals[--can->refusal_count];
}

/* --- end --- */

void capability_clear(struct process *process)
{
    struct capability *can = &process->capability;
    forget_stand_ins(can);
    free(can->refusals);
    if (can->again != NULL)
        event_free(can->again);
    *can = (struct capability){.again = NULL};
    memset(process->handlers, 0, sizeof process->handlers);
}

/* --- versions --- */

struct version_list {
    const char *items[VERSIONS_MAX];
    size_t count;
};

static int compare_texts(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void add_versions(struct version_list *list, struct pool *pool, const char *name)
{
    int handler = pool_handler(pool, name, false);
    for (int i = 0; handler >= 0 && i < pool->process_count; i++) {
        const struct process *process = &pool->processes[i];
        const char *version = process->capability.version;
        bool counts = process->state == PROCESS_READY && has_bit(process->handlers, handler) &&
                      *version != '\0';
        for (size_t k = 0; counts && k < list->count; k++)
            counts = strcmp(list->items[k], version) != 0;
        if (counts && list->count < VERSIONS_MAX)
            list->items[list->count++] = version;
    }
}

static void write_versions(struct version_list *list, const char *name, struct buffer *out)
{
    qsort(list->items, list->count, sizeof *list->items, compare_texts);
    buffer_json(out, name, strlen(name));
    for (size_t i = 0; i < list->count; i++) {
        buffer_string(out, i == 0 ? ":[" : ",");
        buffer_json(out, list->items[i], strlen(list->items[i]));
    }
    buffer_char(out, ']');
}

static bool is_of_earlier_pool(struct workers *workers, size_t pool, const char *name)
{
    for (size_t i = 0; i < pool; i++)
        if (pool_handler(&workers->pools[i], name, false) >= 0)
            return true;
    return false;
}

void workers_versions(struct workers *workers, struct buffer *out)
{
    size_t start = out->length;
    buffer_char(out, '{');
    for (size_t at = 0; at < workers->pool_count; at++) {
        for (size_t i = 0; i < workers->pools[at].handler_count; i++) {
            const char *name = workers->pools[at].handlers[i];
            struct version_list list = {.count = 0};
            if (is_of_earlier_pool(workers, at, name))
                continue;
            for (size_t pool = at; pool < workers->pool_count; pool++)
                add_versions(&list, &workers->pools[pool], name);
            if (list.count > 0) {
                if (out->length > start + 1)
                    buffer_char(out, ',');
                write_versions(&list, name, out);
            }
        }
    }
    buffer_char(out, '}');
}
