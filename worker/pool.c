/*
 * A pool: its command, the names of what its workers serve, and who of them takes a run. Lane runs
 * and others share a process only where it cannot be helped: when the lease ends, all of it dies.
 */
#include "worker/guest.h"
#include "worker/pool.h"

#include "base/clock.h"
#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

/* --- command --- */

static char **copy_texts(char *const *command)
{
    size_t count = 0;
    while (command[count] != NULL)
        count++;
    char **copy = mem_array(count + 1, sizeof *copy);
    for (size_t i = 0; i < count; i++)
        copy[i] = mem_string(command[i]);
    return copy;
}

static void free_texts(char **texts)
{
    for (size_t i = 0; texts != NULL && texts[i] != NULL; i++)
        free(texts[i]);
    free(texts);
}

/*
 * The built-in worker ends what it was told to cancel after four fifths of the grace, so that it is
 * never ended itself for a run that would have ended in time.
 */
static char **builtin_command(const struct worker_config *config, const char *pool, int slots)
{
    size_t patterns = 0, at = 0;
    while (config->exec_allow != NULL && config->exec_allow[patterns] != NULL)
        patterns++;
    int64_t grace_us = config->kill_grace_us * 4 / 5;
    char **command = mem_array(patterns * 2 + 11, sizeof *command);
    command[at++] = mem_string(config->self);
    command[at++] = mem_string("worker");
    command[at++] = mem_string("--name");
    command[at++] = mem_string(pool);
    command[at++] = mem_string("--node");
    command[at++] = mem_string(config->node);
    command[at++] = mem_string("--slots");
    command[at++] = mem_format("%d", slots);
    command[at++] = mem_string("--grace-ms");
    command[at++] = mem_format("%lld", (long long)(grace_us / US_PER_MS));
    for (size_t i = 0; i < patterns; i++) {
        command[at++] = mem_string("--allow");
        command[at++] = mem_string(config->exec_allow[i]);
    }
    return command;
}

static void copy_aliases(struct pool *pool, const struct worker_pool_config *config)
{
    pool->alias_count = config->alias_count;
    pool->aliases = mem_array(config->alias_count + 1, sizeof *pool->aliases);
    for (size_t i = 0; i < config->alias_count; i++)
        pool->aliases[i] = (struct worker_alias){mem_string(config->aliases[i].old),
                                                 mem_string(config->aliases[i].new)};
}

/* The line that carries the node's settings: an argument would be seen by everybody. */
static char *builtin_settings(const struct worker_config *config)
{
    if (config->builtin_settings == NULL)
        return NULL;
    struct buffer line = {0};
    buffer_string(&line, "{\"type\":\"settings\",");
    protocol_write_json(&line, slice_of(config->builtin_settings + 1));
    buffer_char(&line, '\n');
    buffer_text(&line);
    return line.data;
}

/* --- life --- */

void process_init(struct process *process, struct pool *pool)
{
    *process = (struct process){.workers = pool->workers, .pool = pool, .channel = {.fd = -1}};
    list_init(&process->queued);
    list_init(&process->handed);
    list_init(&process->dirty);
    list_init(&process->locks);
    process->timer = event_new(pool->workers->base, -1, 0, process_on_timer, process);
}

void pool_init(struct pool *pool, struct workers *workers, const struct worker_config *config,
               const struct worker_pool_config *pool_config)
{
    bool builtin = pool_config->command == NULL;
    int count = (pool_config->processes > 0 ? pool_config->processes : 1) + builtin;
    int slots = pool_config->slots > 0 ? pool_config->slots : 1;
    *pool = (struct pool){.workers = workers,
                          .name = mem_string(pool_config->name),
                          .processes = mem_array((size_t)count, sizeof *pool->processes),
                          .process_count = count,
                          .limits = pool_config->limits,
                          .split = builtin};
    pool->live = mem_array(1, sizeof *pool->live);
    copy_aliases(pool, pool_config);
    if (!builtin)
        pool->command = copy_texts(pool_config->command);
    else
        pool->command = builtin_command(config, pool_config->name, slots);
    if (builtin)
        pool->settings = builtin_settings(config);
    if (builtin && pool_config->builtin != NULL)
        pool->builtin = copy_texts(pool_config->builtin);
    for (int i = 0; i < count; i++)
        process_init(&pool->processes[i], pool);
}

void pool_close(struct pool *pool)
{
    for (int i = 0; i < pool->process_count; i++) {
        struct process *process = &pool->processes[i];
        channel_close(&process->channel);
        event_free(process->timer);
        capability_clear(process);
        free(process->reason);
        free(process->peer);
    }
    free_texts(pool->command);
    free_texts(pool->builtin);
    for (size_t i = 0; i < pool->handler_count; i++)
        free(pool->handlers[i]);
    for (size_t i = 0; i < pool->alias_count; i++) {
        free(pool->aliases[i].old);
        free(pool->aliases[i].new);
    }
    free(pool->aliases);
    free(pool->settings);
    free(pool->handlers);
    free(pool->live);
    free(pool->processes);
    free(pool->name);
}

/* --- handlers --- */

/* A name that no worker of the pool has any more; workers come and go, and their names with them.
 */
static int unused_handler(const struct pool *pool)
{
    uint64_t used[HANDLER_WORDS] = {0};
    for (int i = 0; i < pool->process_count; i++)
        for (int word = 0; word < HANDLER_WORDS; word++)
            used[word] |=
                pool->processes[i].handlers[word] | pool->processes[i].capability.named[word];
    for (int index = 0; index < PROTOCOL_HANDLERS_MAX; index++)
        if ((used[index / 64] >> (index % 64) & 1) == 0)
            return index;
    return -1;
}

static bool names(char *const *texts, const char *name)
{
    for (; texts != NULL && *texts != NULL; texts++)
        if (strcmp(*texts, name) == 0)
            return true;
    return false;
}

/* Every built-in worker announces all that it can do: which of it is whose is said here. */
bool pool_serves(const struct pool *pool, const char *handler)
{
    const struct workers *workers = pool->workers;
    if (!pool->split)
        return true;
    if (pool->builtin != NULL)
        return names(pool->builtin, handler);
    for (size_t i = 0; i < workers->pool_count; i++)
        if (names(workers->pools[i].builtin, handler))
            return false;
    return true;
}

int pool_handler(struct pool *pool, const char *name, bool add)
{
    if (pool->last_handler < pool->handler_count &&
        strcmp(pool->handlers[pool->last_handler], name) == 0)
        return (int)pool->last_handler;
    for (size_t i = 0; i < pool->handler_count; i++) {
        if (strcmp(pool->handlers[i], name) == 0) {
            pool->last_handler = i;
            return (int)i;
        }
    }
    if (!add)
        return -1;
    int unused = pool->handler_count == PROTOCOL_HANDLERS_MAX ? unused_handler(pool) : -1;
    if (unused >= 0) {
        free(pool->handlers[unused]);
        pool->handlers[unused] = mem_string(name);
        return unused;
    }
    if (pool->handler_count == PROTOCOL_HANDLERS_MAX) {
        int64_t now_us = clock_monotonic_us();
        if (pool->full_us != 0 && now_us - pool->full_us < US_PER_SECOND)
            return -1; /* one line a second: a hello may name hundreds, and come often */
        pool->full_us = now_us;
        log_warn(pool->workers->log, "too many handlers in one pool: this one is not served",
                 LOG_TEXT("pool", pool->name), LOG_TEXT("handler", name));
        return -1;
    }
    size_t index = pool->handler_count++;
    pool->handlers = mem_resize(pool->handlers, pool->handler_count, sizeof *pool->handlers);
    pool->live = mem_resize(pool->live, pool->handler_count + 1, sizeof *pool->live);
    pool->handlers[index] = mem_string(name);
    return (int)index;
}

static bool process_has(const struct process *process, int handler)
{
    return (process->handlers[handler / 64] >> (handler % 64) & 1) != 0;
}

/* --- choice --- */

static bool process_takes(const struct process *process)
{
    return process->state == PROCESS_READY && !process->lone && !process->channel.broken &&
           channel_pending(&process->channel) < PENDING_MAX;
}

static bool process_reserved(const struct process *process)
{
    return process->reserved_us != 0 && clock_monotonic_us() < process->reserved_us;
}

int64_t process_free_slots(const struct process *process)
{
    if (!process_takes(process) || process_reserved(process) || process->busy >= process->slots)
        return 0;
    return process->slots - process->busy;
}

/* Whether runs of this kind may go there at all. */
static bool process_is_for(const struct process *process, bool lane)
{
    const struct pool *pool = process->pool;
    if (process_is_guest(process))
        return !lane || guest_honours(process);
    return !pool->split || lane == (process == &pool->processes[pool->process_count - 1]);
}

/* It has only runs of this kind, or none: no other dies with it. */
static bool process_keeps_apart(const struct process *process, bool lane)
{
    return lane ? process->lanes == process->busy : process->lanes == 0;
}

/*
 * A run that must be alone needs an empty worker. Where there is none, the one with the fewest runs
 * gets no more for a while, so that others cannot keep it out for ever.
 */
static struct process *pool_pick_empty(struct pool *pool, int handler, bool lane)
{
    struct process *least = NULL;
    for (int i = 0; i < pool->process_count; i++) {
        struct process *process = &pool->processes[i];
        if (!process_takes(process) || !process_has(process, handler) ||
            !process_is_for(process, lane))
            continue;
        if (least == NULL || process->busy < least->busy)
            least = process;
    }
    if (least == NULL || least->busy == 0)
        return least;
    for (int i = 0; i < pool->process_count; i++)
        if (process_reserved(&pool->processes[i]))
            return NULL; /* one is enough */
    least->reserved_us = clock_monotonic_us() + RESERVE_US;
    return NULL;
}

struct process *pool_pick(struct pool *pool, const struct worker_run *run)
{
    int handler = pool_handler(pool, run->handler, false);
    if (handler < 0)
        return NULL;
    if (run->alone)
        return pool_pick_empty(pool, handler, run->lane);
    struct process *best = NULL;
    int64_t best_free = 0;
    bool best_apart = false;
    for (int i = 0; i < pool->process_count; i++) {
        struct process *process = &pool->processes[i];
        bool possible = process_has(process, handler) && process_is_for(process, run->lane);
        int64_t free_slots = possible ? process_free_slots(process) : 0;
        bool apart = process_keeps_apart(process, run->lane);
        if (free_slots > 0 &&
            (apart > best_apart || (apart == best_apart && free_slots > best_free))) {
            best = process;
            best_free = free_slots;
            best_apart = apart;
        }
    }
    return best;
}

/* Slots of the workers that are ready, and those free for either kind of run. */
struct rooms {
    int64_t slots, free_slots, lane_slots;
};

static struct rooms pool_rooms(const struct pool *pool)
{
    struct rooms rooms = {0};
    int64_t busy = 0;
    for (int i = 0; i < pool->process_count; i++) {
        const struct process *process = &pool->processes[i];
        if (process->state != PROCESS_READY)
            continue;
        busy += process->busy;
        if (process_is_for(process, false)) {
            rooms.slots += process->slots;
            rooms.free_slots += process_free_slots(process);
        }
        if (process_is_for(process, true))
            rooms.lane_slots += process_free_slots(process);
    }
    if (pool->split) { /* both have the slots of the pool; together they may use them once */
        int64_t left = rooms.slots > busy ? rooms.slots - busy : 0;
        rooms.free_slots = rooms.free_slots < left ? rooms.free_slots : left;
        rooms.lane_slots = rooms.lane_slots < left ? rooms.lane_slots : left;
    }
    if (pool->workers->draining)
        rooms.free_slots = rooms.lane_slots = 0;
    return rooms;
}

static bool pool_has(const struct pool *pool, int handler)
{
    for (int i = 0; i < pool->process_count; i++)
        if (pool->processes[i].state == PROCESS_READY && process_has(&pool->processes[i], handler))
            return true;
    return false;
}

int64_t pool_room(struct pool *pool, const char *handler, bool lane)
{
    int index = pool_handler(pool, handler, false);
    if (index < 0 || !pool_has(pool, index))
        return 0;
    struct rooms rooms = pool_rooms(pool);
    return lane ? rooms.lane_slots : rooms.free_slots;
}

void pool_view(struct pool *pool, struct worker_pool_view *view)
{
    struct rooms rooms = pool_rooms(pool);
    size_t count = 0;
    for (size_t i = 0; i < pool->handler_count; i++)
        if (pool_has(pool, (int)i))
            pool->live[count++] = pool->handlers[i];
    pool->live[count] = NULL;
    *view = (struct worker_pool_view){.name = pool->name,
                                      .handlers = pool->live,
                                      .slots = (int)rooms.slots,
                                      .free_slots = (int)rooms.free_slots,
                                      .lane_slots = (int)rooms.lane_slots};
}
