/* Workers that connect: see guest.h. Their sockets are in listener.c. */
#include "worker/guest.h"

#include "worker/listener.h"

#include "base/clock.h"
#include "base/memory.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define REFUSED_LOG_US (1 * US_PER_SECOND)  /* who is turned away costs a line so often at most */
#define TRIES_MAX      10                   /* wrong tokens of one address … */
#define TRIES_US       (10 * US_PER_SECOND) /* … in so long, then it is not listened to */
#define TRIERS_MAX     64                   /* addresses that are remembered for it */

struct trier {
    char address[64];
    int64_t since_us; /* monotonic */
    int tries;
};

struct guests {
    struct pool *pool;
    struct listeners *listeners;
    char *token; /* NULL: no TCP */
    struct event *lease_end;
    struct trier triers[TRIERS_MAX];
    int64_t refused_us; /* monotonic; the last line about one who was turned away */
    uint64_t refused;   /* since then */
};

bool process_is_guest(const struct process *process)
{
    const struct guests *guests = process->workers->guests;
    return guests != NULL && process->pool == guests->pool;
}

/* --- who is turned away --- */

static void log_refused(struct workers *workers, const char *peer, const char *why)
{
    struct guests *guests = workers->guests;
    int64_t now_us = clock_monotonic_us();
    guests->refused++;
    if (guests->refused_us != 0 && now_us - guests->refused_us < REFUSED_LOG_US)
        return;
    log_warn(workers->log, "a connection of a worker was refused", LOG_TEXT("peer", peer),
             LOG_TEXT("reason", why), LOG_INT("count", guests->refused));
    guests->refused_us = now_us;
    guests->refused = 0;
}

static void turn_away(struct workers *workers, int fd, const char *peer, const char *why)
{
    struct buffer line = {0};
    protocol_write_refused(&line, why);
    if (send(fd, line.data, line.length, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0)
        log_refused(workers, peer, why);
    buffer_free(&line);
    close(fd);
}

/* The address without its port; the one seen longest ago makes room for a new one. */
static struct trier *find_trier(struct guests *guests, const char *peer, bool add)
{
    char address[sizeof guests->triers[0].address];
    const char *colon = strrchr(peer, ':');
    int length = colon != NULL ? (int)(colon - peer) : (int)strlen(peer);
    snprintf(address, sizeof address, "%.*s", length, peer);
    struct trier *oldest = &guests->triers[0];
    for (size_t i = 0; i < TRIERS_MAX; i++) {
        struct trier *trier = &guests->triers[i];
        if (strcmp(trier->address, address) == 0)
            return trier;
        if (trier->since_us < oldest->since_us)
            oldest = trier;
    }
    if (!add)
        return NULL;
    *oldest = (struct trier){.since_us = clock_monotonic_us()};
    memcpy(oldest->address, address, sizeof address);
    return oldest;
}

static bool tries_too_much(struct guests *guests, const char *peer)
{
    const struct trier *trier = find_trier(guests, peer, false);
    return trier != NULL && trier->tries >= TRIES_MAX &&
           clock_monotonic_us() - trier->since_us < TRIES_US;
}

static void count_try(struct guests *guests, const char *peer)
{
    struct trier *trier = find_trier(guests, peer, true);
    int64_t now_us = clock_monotonic_us();
    if (now_us - trier->since_us >= TRIES_US) {
        trier->since_us = now_us;
        trier->tries = 0;
    }
    trier->tries++;
}

/* Takes as long for a token that is nearly right as for any other. */
static bool token_is(const char *token, struct slice given)
{
    size_t length = strlen(token);
    volatile unsigned char differs = given.length != length;
    for (size_t i = 0; i < length; i++)
        differs |= (unsigned char)token[i] ^
                   (unsigned char)(given.length > 0 ? given.data[i % given.length] : 0);
    return differs == 0;
}

/* --- arrival --- */

/* A free place. Where strangers fill theirs, the one that has said nothing for longest goes. */
static struct process *find_place(struct pool *pool)
{
    struct process *free_place = NULL, *oldest = NULL;
    int strangers = 0;
    for (int i = 0; i < pool->process_count; i++) {
        struct process *process = &pool->processes[i];
        if (process->state == PROCESS_RESTING && free_place == NULL)
            free_place = process;
        if (process->state != PROCESS_STARTING)
            continue;
        strangers++;
        if (oldest == NULL || process->starts_us[0] < oldest->starts_us[0])
            oldest = process;
    }
    if (free_place == NULL && pool->process_count < GUESTS_MAX) {
        free_place = &pool->processes[pool->process_count++];
        process_init(free_place, pool);
    }
    if (oldest == NULL || (free_place != NULL && strangers < STRANGERS_MAX))
        return free_place;
    guest_end(oldest, PROCESS_DEADLINE, "others came before it said hello");
    return oldest;
}

static void on_accepted(void *arg, int fd, const char *peer, bool tcp)
{
    struct workers *workers = arg;
    struct guests *guests = workers->guests;
    if (tcp && tries_too_much(guests, peer)) {
        turn_away(workers, fd, peer, "too many wrong tokens from this address: wait 10 s");
        return;
    }
    struct process *process = find_place(guests->pool);
    if (process == NULL) {
        turn_away(workers, fd, peer, "this node has as many connected workers as it may (256)");
        return;
    }
    process_move(process, PROCESS_START);
    process->peer = mem_string(peer);
    process->with_token = tcp;
    process->ended_by_us = process->crowded = false;
    process->lease_told_us = 0;
    process->starts_us[0] = clock_monotonic_us();
    channel_open(&process->channel, workers->base, fd, &answer_callbacks, process);
    process->channel.line_max = HELLO_LINE_MAX;
    struct timeval limit = clock_timeval(HELLO_US);
    event_add(process->timer, &limit);
}

bool guest_hello(struct process *process, const struct protocol_message *message)
{
    struct guests *guests = process->workers->guests;
    if (process->with_token && !token_is(guests->token, message->token)) {
        count_try(guests, process->peer);
        guest_fault(process,
                    message->token.data != NULL ? "its token is wrong" : "its hello has no token");
        return false;
    }
    process->channel.line_max = PROTOCOL_LINE_MAX;
    return true;
}

/* --- end --- */

bool guest_lingers(const struct process *process)
{
    return process_is_guest(process) &&
           (process->state == PROCESS_LOST || process->state == PROCESS_ENDING);
}

/* What was told may be worked for until then, whatever it says of its promise now. */
static bool is_told(const struct process *process)
{
    return clock_boot_us() < process->lease_told_us;
}

bool guest_honours(const struct process *process)
{
    return process->honours_lease && is_told(process);
}

static void log_end(struct process *process, bool known, bool fault, const char *why)
{
    struct workers *workers = process->workers;
    if (!known) {
        log_refused(workers, process->peer, why);
        return;
    }
    bool wanted = workers->draining || process->ended_by_us || (process->busy == 0 && !fault);
    log_write(workers->log, wanted ? LOG_INFO : LOG_WARN, "worker disconnected",
              (const struct log_field[]){LOG_TEXT("pool", process->pool->name),
                                         LOG_TEXT("peer", process->peer), LOG_TEXT("reason", why),
                                         LOG_INT("runs", process->busy)},
              4);
}

static void bury(struct process *process)
{
    char *reason = process->reason;
    process->reason = NULL;
    process_move(process, PROCESS_EXIT);
    process_clear(process);
    free(process->peer);
    process->peer = NULL;
    worker_lock_process_over(process);
    if (process->workers->draining || process->workers->orphaned)
        process_retire(process);
    process_bereave(process, reason, false);
    free(reason);
}

/*
 * All but what it may still be doing ends at once; the rest when the last lease it was told of is
 * over. `event` leads to lost or ending.
 */
void guest_end(struct process *process, enum process_event event, const char *why)
{
    bool known = process_serves(process);
    channel_close(&process->channel);
    event_del(process->timer);
    list_remove(&process->dirty);
    log_end(process, known, event == PROCESS_FAULT, why);
    process_move(process, event);
    free(process->reason);
    process->reason = mem_string(why);
    process->crowded =
        !list_empty(&process->handed) && process->handed.next != process->handed.previous;
    worker_lock_forget_requests(process);
    if (is_told(process) && (process->lanes > 0 || process->locks_held > 0)) {
        process_bereave(process, why, true);
        guest_on_timer(process);
    } else {
        bury(process);
    }
}

static void refuse(struct process *process, enum process_event event, const char *why)
{
    protocol_write_refused(&process->channel.out, why);
    channel_flush(&process->channel);
    guest_end(process, event, why);
}

void guest_fault(struct process *process, const char *why)
{
    if (process_serves(process))
        process->workers->counts.malformed++;
    refuse(process, PROCESS_FAULT, why);
}

void guest_condemn(struct process *process)
{
    process_move(process, PROCESS_CONDEMN);
    process->ended_by_us = true;
    guest_end(process, PROCESS_EOF, "its connection was closed, as a run did not end when told to");
}

void guest_on_timer(struct process *process)
{
    if (process->state == PROCESS_STARTING) {
        refuse(process, PROCESS_DEADLINE, "it did not say hello within 10 s");
        return;
    }
    int64_t left_us = process->lease_told_us - clock_boot_us();
    if (guest_lingers(process) && left_us > 0 && (process->lanes > 0 || process->locks_held > 0)) {
        struct timeval wait = clock_timeval(left_us + 1);
        event_add(process->timer, &wait);
    } else if (guest_lingers(process)) {
        bury(process);
    }
}

/* --- lease --- */

/* What was told is over: who has not stopped by himself is cut off, and others may begin. */
static void on_lease_end(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct workers *workers = arg;
    struct pool *pool = workers->guests->pool;
    if (clock_boot_us() < workers->lease_us) {
        guests_lease(workers);
        return;
    }
    for (int i = 0; i < pool->process_count; i++) {
        struct process *process = &pool->processes[i];
        if (!process_serves(process) || (process->lanes == 0 && process->locks_held == 0))
            continue;
        process->ended_by_us = true;
        guest_end(process, PROCESS_EOF, "the lease of the node ended");
    }
}

void guests_lease(struct workers *workers)
{
    if (workers->guests == NULL)
        return;
    struct timeval wait = clock_timeval(workers->lease_us - clock_boot_us() + 1);
    event_add(workers->guests->lease_end, &wait);
}

/* --- life --- */

int guests_open(struct workers *workers, const struct worker_config *config,
                struct rota_error *error)
{
    if (config->listen == NULL || config->listen[0] == NULL)
        return 0;
    if (listener_has_tcp(config->listen) && config->token == NULL)
        return error_set(error, ERROR_REFUSED,
                         "a TCP port for workers needs worker_token or worker_token_file, as "
                         "everybody who reaches it could take runs; or listen on unix:PATH");
    struct listener_config listener = {.base = workers->base,
                                       .log = workers->log,
                                       .addresses = config->listen,
                                       .socket_mode =
                                           config->socket_mode != 0 ? config->socket_mode : 0600,
                                       .arg = workers,
                                       .accepted = on_accepted};
    struct guests *guests = mem_alloc(sizeof *guests);
    workers->guests = guests;
    guests->token = mem_string(config->token);
    guests->lease_end = event_new(workers->base, -1, 0, on_lease_end, workers);
    guests->listeners = listeners_new(&listener, error);
    if (guests->listeners == NULL)
        return -1;
    guests->pool = &workers->pools[workers->pool_count++];
    *guests->pool = (struct pool){.workers = workers,
                                  .name = mem_string(GUEST_POOL),
                                  .processes = mem_array(GUESTS_MAX, sizeof(struct process)),
                                  .live = mem_array(1, sizeof(char *))};
    return 0;
}

void guests_close(struct workers *workers)
{
    if (workers->guests == NULL)
        return;
    listeners_free(workers->guests->listeners);
    workers->guests->listeners = NULL;
}

void guests_free(struct workers *workers)
{
    struct guests *guests = workers->guests;
    if (guests == NULL)
        return;
    listeners_free(guests->listeners);
    event_free(guests->lease_end);
    if (guests->token != NULL)
        explicit_bzero(guests->token, strlen(guests->token));
    free(guests->token);
    free(guests);
    workers->guests = NULL;
}
