/*
 * Wake: when to look for work, and for which routes. Sleeps until the next due time it was told,
 * and is woken by a notification, by a slot that becomes free while something waits, by a heartbeat
 * that saw something due. An idle node asks nothing.
 */
#include "coord/node.h"

#include "base/clock.h"
#include "base/memory.h"
#include "base/text.h"

#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define POLL_DEAF_US     (500 * US_PER_MS) /* without notifications somebody must look */
#define DAY_US           (86400 * US_PER_SECOND)
#define FAILED_PAUSE_US  (250 * US_PER_MS)
#define MISSED_PAUSE_US  (1 * US_PER_MS) /* doubled for each time in a row */
#define MISSED_SHIFT_MAX 7
#define LANES_AHEAD_US   (60 * US_PER_SECOND) /* their worker is ready by then */

struct known_route {
    int32_t id;
    int16_t priority;
    char *handler;
};

struct wake {
    struct node *node;
    struct event *turn;  /* decides at the end of the turn */
    int alarm;           /* the next due time: a timer of the kernel, -1: there is none */
    struct event *timer; /* its going off, or a timer of libevent in its place */
    struct known_route *known;
    size_t known_count;
    int32_t newest_route; /* in the database, as far as we heard */
    int32_t loaded_route; /* when `known` was read */
    bool loading;
    bool stale;      /* what is known was not read for our handlers */
    uint64_t news;   /* of the workers, when the next was read */
    uint64_t told;   /* what was announced last, as a number */
    char **handlers; /* of all live workers, each once */
    size_t handler_count;
    struct route routes[NODE_CLAIM_ROUTES_MAX]; /* with room, as of the last look */
    size_t route_count;
    struct route lane_routes[NODE_ROUTES_MAX]; /* the same for what belongs to lanes */
    size_t lane_route_count;
    bool any_slot;              /* some route had a free one */
    bool starved;               /* some route had none at the last look: a free slot is news */
    bool lanes_starved;         /* the same for lanes */
    bool ask;                   /* the next due times are not known */
    bool polling;               /* the timer is there to look, not for something due */
    bool backlog;               /* the last claim filled its room */
    bool assumed;               /* the last claim brought something: more of it is a guess */
    bool outranked;             /* the last claim left room to others, who may be before its runs */
    int64_t due_us[WORK_KINDS]; /* next due times; STORE_NULL_TIME: none known */
    int64_t pause_until_us;     /* monotonic: after a failure or a miss */
    int64_t ahead_after_us;     /* monotonic: there was nothing to be had beyond the slots */
    int misses;                 /* claims in a row that found nothing though something was due */
};

static void decide(struct wake *w);
static void on_due(evutil_socket_t fd, short what, void *arg);
static bool lanes_due(const struct wake *w, int64_t now_us);
static void load_routes(struct wake *w);

static void on_turn(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    decide(arg);
}

static void decide_soon(struct wake *w)
{
    struct timeval now = {0, 0};
    if (!evtimer_pending(w->turn, NULL))
        evtimer_add(w->turn, &now);
}

/*
 * libevent's timers read a clock that moves with the kernel's tick, every 4 ms, and let epoll round
 * up to the next one: what is due would begin that much later. A loop that keeps microseconds for
 * all timers would set one of the kernel at each of its turns.
 */
static void alarm_new(struct wake *w)
{
    w->alarm = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    w->timer =
        event_new(w->node->base, w->alarm, w->alarm < 0 ? 0 : EV_READ | EV_PERSIST, on_due, w);
    if (w->alarm >= 0)
        event_add(w->timer, NULL);
}

static void alarm_free(struct wake *w)
{
    event_free(w->timer);
    if (w->alarm >= 0)
        close(w->alarm);
}

/* INT64_MAX: it does not go off. */
static void alarm_set(struct wake *w, int64_t pause_us)
{
    struct timeval delay = clock_timeval(pause_us == INT64_MAX ? 0 : pause_us);
    struct itimerspec when = {
        .it_value = {.tv_sec = delay.tv_sec, .tv_nsec = 1000 * delay.tv_usec + 1}};
    if (pause_us == INT64_MAX)
        when.it_value.tv_nsec = 0;
    if (w->alarm >= 0)
        timerfd_settime(w->alarm, 0, &when, NULL);
    else if (pause_us == INT64_MAX)
        evtimer_del(w->timer);
    else
        evtimer_add(w->timer, &delay);
}

static void on_due(evutil_socket_t fd, short what, void *arg)
{
    struct wake *w = arg;
    uint64_t times;
    (void)what;
    if (fd >= 0 && read(fd, &times, sizeof times) < 0)
        return; /* it was set anew meanwhile */
    w->ask = w->ask || w->polling;
    if (w->polling && w->known_count == 0)
        load_routes(w); /* with nothing to ask for, the answer would not tell of new ones */
    decide(w);
}

/* How long to sleep at most: heartbeats look, too, and cost nothing more. */
static int64_t longest_sleep(const struct wake *w)
{
    const struct node_config *config = w->node->config;
    bool deaf = !config->notify || w->node->member.deaf;
    int64_t poll = deaf && config->poll_us > POLL_DEAF_US ? POLL_DEAF_US : config->poll_us;
    int64_t longest = poll < config->heartbeat_us ? poll : INT64_MAX, busy = busy_polls(w->node);
    return busy < longest ? busy : longest;
}

void wake_new(struct node *node)
{
    struct wake *w = mem_alloc(sizeof *w);
    w->node = node;
    w->turn = evtimer_new(node->base, on_turn, w);
    alarm_new(w);
    for (int work = 0; work < WORK_KINDS; work++)
        w->due_us[work] = STORE_NULL_TIME;
    w->ask = true;
    node->wake = w;
}

static void forget_routes(struct wake *w)
{
    for (size_t i = 0; i < w->known_count; i++)
        free(w->known[i].handler);
    free(w->known);
    w->known = NULL;
    w->known_count = 0;
}

static void forget_handlers(struct wake *w)
{
    for (size_t i = 0; i < w->handler_count; i++)
        free(w->handlers[i]);
    free(w->handlers);
    w->handlers = NULL;
    w->handler_count = 0;
}

void wake_free(struct node *node)
{
    struct wake *w = node->wake;
    if (w == NULL)
        return;
    forget_routes(w);
    forget_handlers(w);
    event_free(w->turn);
    alarm_free(w);
    free(w);
    node->wake = NULL;
}

static bool is_due(int64_t when_us, int64_t now_us)
{
    return when_us != STORE_NULL_TIME && when_us <= now_us;
}

/* ---- routes ---- */

static void on_routes(void *arg, const struct store_answer *answer)
{
    struct wake *w = arg;
    w->loading = false;
    if (answer->error != NULL) {
        w->stale = true; /* asked again with the next heartbeat */
        return;
    }
    forget_routes(w);
    w->known_count = (size_t)PQntuples(answer->result);
    w->known = mem_array(w->known_count, sizeof *w->known);
    for (size_t i = 0; i < w->known_count; i++) {
        w->known[i].id = row_int32(answer->result, (int)i, 0);
        w->known[i].handler = mem_string(row_text(answer->result, (int)i, 1));
        w->known[i].priority = row_int16(answer->result, (int)i, 2);
    }
    w->ask = true;
    if (w->stale)
        load_routes(w); /* the handlers have changed meanwhile */
    decide_soon(w);
}

static void load_routes(struct wake *w)
{
    w->stale = true;
    if (w->loading || w->node->session == NULL || !store_ready(w->node->session))
        return;
    w->stale = false;
    struct store_params params = {0};
    params_texts(&params, (const char *const *)w->handlers, w->handler_count);
    w->loading = true;
    w->loaded_route = w->newest_route;
    store_call(w->node->session, SQL_ROUTE_LIST, &params, 0, on_routes, w);
    store_params_free(&params);
}

static bool has_handler(const struct wake *w, const char *handler)
{
    for (size_t i = 0; i < w->handler_count; i++)
        if (strcmp(w->handlers[i], handler) == 0)
            return true;
    return false;
}

/* A number that changes with what others know of our workers. */
static uint64_t told_mark(struct node *node)
{
    const struct worker_pool_view *views;
    size_t pools = workers_pools(node->workers, &views);
    struct buffer versions = {0};
    workers_versions(node->workers, &versions);
    uint64_t mark = text_hash(versions.data, versions.length);
    for (size_t i = 0; i < pools; i++)
        mark += (uint64_t)views[i].slots;
    buffer_free(&versions);
    return mark;
}

/* A number that changes with the set of handlers. */
static uint64_t handlers_mark(const struct wake *w)
{
    uint64_t mark = w->handler_count;
    for (size_t i = 0; i < w->handler_count; i++)
        mark += text_hash(w->handlers[i], strlen(w->handlers[i]));
    return mark;
}

static void read_handlers(struct wake *w)
{
    const struct worker_pool_view *views;
    size_t pools = workers_pools(w->node->workers, &views);
    forget_handlers(w);
    for (size_t i = 0; i < pools; i++) {
        for (const char *const *at = views[i].handlers; *at != NULL; at++) {
            if (has_handler(w, *at))
                continue;
            w->handlers = mem_resize(w->handlers, w->handler_count + 1, sizeof *w->handlers);
            w->handlers[w->handler_count++] = mem_string(*at);
        }
    }
}

/* Asked at each run that ends: most often nothing has changed but free slots. */
void wake_handlers_changed(struct node *node)
{
    struct wake *w = node->wake;
    uint64_t news = workers_counts(node->workers)->news;
    if (news != w->news) {
        uint64_t before = handlers_mark(w), told = w->told;
        w->news = news;
        read_handlers(w);
        w->told = handlers_mark(w) + told_mark(node);
        w->stale = w->stale || handlers_mark(w) != before;
        if (w->told != told)
            member_workers_changed(node);
    }
    if (w->stale)
        load_routes(w);
    if (w->starved || (w->lanes_starved && lanes_due(w, node_database_now(node))))
        w->ask = true;
    decide_soon(w);
}

void wake_route_seen(struct node *node, int32_t newest)
{
    struct wake *w = node->wake;
    if (newest > w->newest_route)
        w->newest_route = newest;
    if (w->stale || w->loaded_route < w->newest_route)
        load_routes(w);
}

size_t wake_handlers(struct node *node, const char *const **ret_handlers)
{
    *ret_handlers = (const char *const *)node->wake->handlers;
    return node->wake->handler_count;
}

/* The pool that takes a handler's next run: the one with the most free slots. -1: nobody serves it.
 */
static int pool_for(const struct worker_pool_view *views, size_t count, const int *rooms,
                    const char *handler)
{
    int best = -1;
    for (size_t i = 0; i < count && i < NODE_POOLS_MAX; i++)
        for (const char *const *at = views[i].handlers; *at != NULL; at++)
            if (strcmp(*at, handler) == 0 && (best < 0 || rooms[i] > rooms[best]))
                best = (int)i;
    return best;
}

/* What a claim may bring for each pool. */
struct rooms {
    int slots[NODE_POOLS_MAX];
    int room[NODE_POOLS_MAX];
};

/* Routes with room among those known; `sign` -1: of lanes. False: some have no free slot. */
static bool find_routes(const struct wake *w, const struct worker_pool_view *views, size_t pools,
                        const struct rooms *rooms, int sign, struct route *ret_routes,
                        size_t *ret_count)
{
    size_t count = 0;
    bool all_free = true;
    for (size_t i = 0; i < w->known_count && count < NODE_ROUTES_MAX; i++) {
        int pool = pool_for(views, pools, rooms->room, w->known[i].handler);
        all_free = all_free && pool >= 0 && rooms->slots[pool] > 0;
        if (pool >= 0 && rooms->room[pool] > 0)
            ret_routes[count++] = (struct route){sign * w->known[i].id, w->known[i].priority, pool,
                                                 rooms->slots[pool], rooms->room[pool]};
    }
    *ret_count = count;
    return all_free;
}

/*
 * What is at hand takes the slots as they become free: triggers and lanes, who need a free one,
 * would wait for as long as there is more to be had, whatever their rank.
 */
static bool may_be_ahead(const struct wake *w)
{
    int64_t now = node_database_now(w->node);
    if (lanes_due(w, now)) /* they need a slot that is free when it is looked for */
        return false;
    return clock_monotonic_us() >= w->ahead_after_us &&
           !(w->outranked && is_due(w->due_us[WORK_TRIGGERS], now));
}

/* Of one pool: the same for both kinds, where both have any. */
static void rooms_of(const struct wake *w, const struct worker_pool_view *view, size_t pool,
                     int most, struct rooms *plain, struct rooms *lanes)
{
    int at_hand = (int)ahead_count(w->node, pool), ahead = ahead_room(w->node, pool, view->slots);
    if (!may_be_ahead(w))
        ahead = 0;
    int free_slots = view->free_slots > at_hand ? view->free_slots - at_hand : 0;
    int slots = free_slots > view->lane_slots ? free_slots : view->lane_slots;
    int room = slots + ahead < most ? slots + ahead : most;
    slots = slots < most ? slots : most;
    plain->slots[pool] = free_slots > 0 ? slots : 0;
    plain->room[pool] = free_slots + ahead > 0 ? room : 0;
    lanes->slots[pool] = view->lane_slots > 0 ? slots : 0;
    lanes->room[pool] = view->lane_slots > 0 ? room : 0;
}

/* Routes of lanes are looked for only where they are asked for: most nodes have none. */
static void look_at_rooms(struct wake *w, bool lanes)
{
    const struct worker_pool_view *views;
    size_t pools = workers_pools(w->node->workers, &views);
    struct rooms rooms, lane_rooms;
    /* of each the same, however much of it is idle: what one claim may bring is bounded */
    int most = pools > 1 ? NODE_CLAIM_MAX / (int)pools : NODE_CLAIM_MAX;
    for (size_t i = 0; i < pools && i < NODE_POOLS_MAX; i++)
        rooms_of(w, &views[i], i, most, &rooms, &lane_rooms);
    w->starved = !find_routes(w, views, pools, &rooms, 1, w->routes, &w->route_count);
    w->any_slot = false;
    for (size_t i = 0; i < w->route_count; i++)
        w->any_slot = w->any_slot || w->routes[i].slots > 0;
    w->lane_route_count = 0;
    w->lanes_starved = lanes && !find_routes(w, views, pools, &lane_rooms, -1, w->lane_routes,
                                             &w->lane_route_count);
}

void wake_routes(struct node *node, const struct route **ret_routes, size_t *ret_count)
{
    look_at_rooms(node->wake, lanes_due(node->wake, node_database_now(node)));
    *ret_routes = node->wake->routes;
    *ret_count = node->wake->route_count;
}

/* ---- deciding ---- */

/* Work of lanes that can be had: it competes with all other work. */
static bool lanes_due(const struct wake *w, int64_t now_us)
{
    return node_may_claim_lanes(w->node) && (is_due(w->due_us[WORK_LANE_TRIGGERS], now_us) ||
                                             is_due(w->due_us[WORK_LANE_PENDING], now_us));
}

/* Triggers need a slot; of what waits some may be at hand for the next one. */
static bool has_room(const struct wake *w, enum work work)
{
    switch (work) {
    case WORK_TRIGGERS:
        return w->any_slot;
    case WORK_PENDING:
        return w->route_count > 0;
    default:
        return w->lane_route_count > 0;
    }
}

/* WORK_KINDS: nothing is due that there is room for. Each kind takes its share of the room only, so
 * that any order does. */
static int due_work(const struct wake *w, int64_t now_us)
{
    int due = WORK_KINDS;
    for (int work = 0; work < WORK_KINDS; work++) {
        if (!is_due(w->due_us[work], now_us) || !has_room(w, (enum work)work))
            continue;
        if (work != WORK_PENDING || !w->outranked)
            return work;
        due = work; /* it has just left room to the others: they come first */
    }
    return due;
}

static void add_lane_routes(struct wake *w)
{
    memcpy(w->routes + w->route_count, w->lane_routes, w->lane_route_count * sizeof *w->routes);
    w->route_count += w->lane_route_count;
}

static void sleep_until(struct wake *w, int64_t now_us)
{
    int64_t next = INT64_MAX, longest = longest_sleep(w);
    for (int work = 0; work < WORK_KINDS; work++) /* lanes that are due wait for the heartbeat */
        if (w->due_us[work] > now_us && w->due_us[work] < next)
            next = w->due_us[work];
    int64_t pause = next != INT64_MAX ? next - now_us : INT64_MAX;
    w->polling = longest < pause;
    if (w->polling)
        pause = longest;
    if (acquire_ask_in(w->node, true) < pause)
        pause = acquire_ask_in(w->node, true);
    /* beyond a day a heartbeat will say so when it comes near; the database agrees to what is due:
     * see database_clock.h */
    alarm_set(w, pause > DAY_US ? INT64_MAX : pause);
}

static void decide(struct wake *w)
{
    struct node *node = w->node;
    if (acquire_busy(node) || !node_may_claim(node))
        return;
    int64_t monotonic = clock_monotonic_us();
    if (monotonic < w->pause_until_us) {
        alarm_set(w, w->pause_until_us - monotonic);
        return;
    }
    int64_t now = node_database_now(node);
    look_at_rooms(w, lanes_due(w, now));
    int work = due_work(w, now);
    bool no_slot = !w->any_slot && w->lane_route_count == 0;
    add_lane_routes(w);
    if (w->route_count == 0) {
        if (w->known_count == 0)
            sleep_until(w, now);
        return;
    }
    /* a claim that does not fill its room is followed by a look in any case */
    bool look = acquire_ask_in(node, w->backlog || work == WORK_KINDS) == 0;
    if (work < WORK_KINDS && !look) {
        w->outranked = false;
        acquire_work(node, (enum work)work, w->routes, w->route_count);
    } else if (w->ask || look) {
        w->ask = false;
        acquire_ask(node, w->routes, w->route_count);
    } else if (!no_slot) { /* a slot that becomes free is news */
        w->misses = 0;
        busy_idle(node); /* who relied on us to look is looked for once more */
        sleep_until(w, now);
    }
}

void wake_step(struct node *node)
{
    decide_soon(node->wake);
}

static void earlier(int64_t *when_us, int64_t candidate_us)
{
    if (candidate_us != STORE_NULL_TIME && (*when_us == STORE_NULL_TIME || candidate_us < *when_us))
        *when_us = candidate_us;
}

void wake_next(struct node *node, enum work work, int64_t due_us)
{
    bool lanes = work == WORK_LANE_TRIGGERS || work == WORK_LANE_PENDING;
    earlier(&node->wake->due_us[work], due_us);
    if (lanes && due_us != STORE_NULL_TIME && due_us < node_database_now(node) + LANES_AHEAD_US)
        workers_want_lanes(node->workers);
    decide_soon(node->wake);
}

void wake_now(struct node *node, enum work work)
{
    if (work == WORK_PENDING)
        acquire_hint(node);
    wake_next(node, work, node_database_now(node));
}

void wake_look(struct node *node)
{
    node->wake->ask = true;
    decide_soon(node->wake);
}

void wake_notified(struct node *node, const char *payload)
{
    struct wake *w = node->wake;
    member_others_work(node);
    /* most likely due now: claim without asking */
    if (*payload == '\0') {
        wake_now(node, WORK_PENDING);
        return;
    }
    if (strcmp(payload, "lane") == 0) {
        wake_now(node, WORK_LANE_PENDING);
        wake_now(node, WORK_LANE_TRIGGERS);
        return;
    }
    load_routes(w); /* definitions or routes have changed */
    wake_look(node);
}

void wake_unknown(struct node *node, enum work work)
{
    node->wake->due_us[work] = STORE_NULL_TIME;
    node->wake->backlog = false;
    node->wake->ask = true;
    node->wake->outranked = work == WORK_PENDING;
}

/*
 * What is due and cannot be had is locked by somebody else, most likely for a moment; if he is
 * stopped in the middle, until the server ends his transaction. Asking again at once would only
 * burn the CPU.
 */
void wake_claimed(struct node *node, int count, bool all_slots)
{
    struct wake *w = node->wake;
    if (count == 0 && !all_slots) { /* what is due may be of those that wait for a slot */
        w->ahead_after_us = clock_monotonic_us() + FAILED_PAUSE_US;
        return;
    }
    bool assumed = w->assumed;
    w->assumed = w->backlog = count > 0;
    if (count > 0)
        w->misses = 0;
    if (count > 0 || assumed)
        return; /* nothing: that was all of it */
    member_others_work(node);
    w->pause_until_us = clock_monotonic_us() + (MISSED_PAUSE_US << w->misses);
    if (w->misses < MISSED_SHIFT_MAX)
        w->misses++;
}

void wake_failed(struct node *node)
{
    node->wake->pause_until_us = clock_monotonic_us() + FAILED_PAUSE_US;
    wake_look(node);
}
