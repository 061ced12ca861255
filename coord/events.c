/*
 * The writer of events: see events.h. Runs are gathered in groups that have everything but their
 * id in common; everything else is rare and a line of its own.
 */
#include "coord/events.h"

#include "coord/finished.h"
#include "coord/fire.h"
#include "coord/metrics.h"
#include "coord/node.h"
#include "coord/observe.h"

#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

#define AGAIN_US  (20 * US_PER_MS)  /* another node writes at this moment */
#define RETRY_US  (500 * US_PER_MS) /* the database refused, or is away */
#define END_US    (1 * US_PER_SECOND)
#define CHORE_US  (60 * US_PER_SECOND)
#define GROUP_MAX 512 /* bytes of a group beside its name and ids: for the bound */

/* Compared as bytes: zeroed before it is filled. Constants, and a job that is held meanwhile. */
struct group_key {
    const char *kind, *status, *outcome;
    const struct job *job;
    int64_t part; /* of the batch: what was put back and begun again is in the next one */
};

struct group {
    struct group_key key;
    struct job *job;
    struct buffer ids;
    UT_hash_handle hh;
};

struct events {
    struct node *node;
    struct event *timer;
    struct group *groups, *last;
    struct buffer lines; /* of what is no run */
    size_t bytes;        /* of all that is gathered, about */
    int64_t changes, lost;
    struct buffer batch; /* on its way, or waiting to be sent again */
    int64_t batch_changes, batch_number;
    int64_t part;
    bool part_put_back; /* something of this part was put back */
    bool out, again, told;
    int64_t next_chore_boot_us; /* while it leads */
};

static void on_timer(evutil_socket_t fd, short what, void *arg);

void events_new(struct node *node)
{
    struct events *events = mem_alloc(sizeof *events);
    events->node = node;
    events->timer = evtimer_new(node->base, on_timer, events);
    events->batch_number = clock_wall_us(); /* of other lives of this node are smaller ones */
    node->events = events;
}

static void groups_free(struct events *events)
{
    struct group *group, *next;
    HASH_ITER (hh, events->groups, group, next) {
        HASH_DEL(events->groups, group);
        job_unref(group->job);
        buffer_free(&group->ids);
        free(group);
    }
    events->last = NULL;
    events->part = 0;
    events->part_put_back = false;
}

void events_free(struct node *node)
{
    struct events *events = node->events;
    if (events == NULL)
        return;
    groups_free(events);
    event_free(events->timer);
    buffer_free(&events->lines);
    buffer_free(&events->batch);
    free(events);
    node->events = NULL;
}

static void write_in(struct events *events, int64_t pause_us)
{
    struct timeval pause = clock_timeval(pause_us);
    if (!events->out && !evtimer_pending(events->timer, NULL))
        evtimer_add(events->timer, &pause);
}

/* Older ones would fill memory for as long as the database is away: the log will say so. */
static void bound(struct events *events)
{
    if (events->bytes <= EVENTS_BYTES_MAX)
        return;
    events->lost += events->changes;
    metrics_events(events->node, 0, events->changes);
    groups_free(events);
    buffer_clear(&events->lines);
    events->changes = 0;
    events->bytes = 0;
}

/* ---- gathering ---- */

static struct group *group_of(struct events *events, const struct group_key *key, struct job *job)
{
    struct group *group = events->last;
    if (group != NULL && memcmp(&group->key, key, sizeof *key) == 0)
        return group;
    HASH_FIND(hh, events->groups, key, sizeof *key, group);
    if (group == NULL) {
        group = mem_alloc(sizeof *group);
        group->key = *key;
        group->job = job != NULL ? job_ref(job) : NULL;
        HASH_ADD(hh, events->groups, key, sizeof group->key, group);
        events->bytes += GROUP_MAX;
    }
    return events->last = group;
}

/* In the order in which they are told, which a run's own events never go against in one part. */
static const char *const run_kinds[] = {"run.started", "run.put_back", "run.finished"};

static void choose_part(struct events *events, const char *kind)
{
    if (kind == run_kinds[0] && events->part_put_back) {
        events->part++;
        events->part_put_back = false;
    }
    events->part_put_back = events->part_put_back || kind == run_kinds[1];
}

static void add_run(struct events *events, const char *kind, const struct run *run,
                    const char *status, const char *outcome)
{
    struct group_key key;
    choose_part(events, kind);
    memset(&key, 0, sizeof key);
    key.part = events->part;
    key.kind = kind;
    key.status = status;
    key.outcome = outcome;
    key.job = run->job;
    struct buffer *ids = &group_of(events, &key, run->job)->ids;
    size_t before = ids->length;
    if (before > 0)
        buffer_char(ids, ',');
    buffer_int(ids, run->key.id);
    events->bytes += ids->length - before;
    events->changes++;
}

static void put_member(struct buffer *out, const char *name, const char *value)
{
    buffer_format(out, "\"%s\":", name);
    if (value != NULL)
        buffer_json(out, value, strlen(value));
    else
        buffer_string(out, "null");
}

/* "kind TAB {" … put_end(): one line, one change. */
static struct buffer *put_begin(struct events *events, const char *kind)
{
    events->bytes -= events->lines.length;
    buffer_format(&events->lines, "%s\t{", kind);
    events->changes++;
    return &events->lines;
}

static void put_end(struct events *events)
{
    buffer_string(&events->lines, "}\t\n");
    events->bytes += events->lines.length;
}

static void add_trigger(struct events *events, const char *kind, int32_t trigger_id,
                        const char *name, const char *error)
{
    struct buffer *out = put_begin(events, kind);
    put_member(out, "trigger", name);
    buffer_format(out, ",\"trigger_id\":%d", trigger_id);
    if (error != NULL) {
        buffer_char(out, ',');
        put_member(out, "error", error);
    }
    put_end(events);
}

static void add_triggers(struct events *events, const struct observation *seen, const char *kind)
{
    for (size_t i = 0; i < seen->count; i++) {
        const struct fire_advance *at = seen->triggers[i];
        add_trigger(events, kind, at->trigger_id,
                    observe_trigger_name(events->node, at->trigger_id), at->error);
    }
}

static void add_misfires(struct events *events, const struct observation *seen)
{
    for (size_t i = 0; i < seen->count; i++) {
        const struct fire_advance *at = seen->triggers[i];
        struct buffer *out = put_begin(events, "trigger.misfired");
        put_member(out, "trigger", observe_trigger_name(events->node, at->trigger_id));
        buffer_format(out, ",\"trigger_id\":%d,\"missed\":%lld,\"made_up\":%lld", at->trigger_id,
                      (long long)at->missed, (long long)at->misfired);
        put_end(events);
    }
}

/* A run's end may be its trigger's, too. */
static void add_effects(struct events *events, const struct finished *end)
{
    const struct run *run = end->run;
    const char *name = run->trigger != NULL ? run->trigger->name : NULL;
    if (end->effects.unschedule)
        add_trigger(events, "trigger.ended", run->trigger_id, name, NULL);
    else if (end->effects.trigger_error != NULL)
        add_trigger(events, "trigger.error", run->trigger_id, name, end->effects.trigger_error);
}

static void add_node(struct events *events, const struct observation *seen)
{
    struct buffer *out = put_begin(
        events, seen->point == OBSERVE_NODE_MOVED
                    ? "node.state"
                    : (seen->point == OBSERVE_RECOVERED ? "node.recovered" : "node.fenced"));
    if (seen->point == OBSERVE_NODE_MOVED) {
        put_member(out, "state", seen->name);
        buffer_char(out, ',');
        put_member(out, "why", seen->text);
    } else if (seen->point == OBSERVE_RECOVERED) {
        put_member(out, "dead_node", seen->name);
        buffer_format(out, ",\"put_back\":%zu,\"unknown\":%lld", seen->count,
                      (long long)seen->other);
    } else {
        buffer_format(out, "\"runs\":%zu", seen->count);
    }
    put_end(events);
}

static void add_runs(struct events *events, const struct observation *seen)
{
    for (size_t i = 0; i < seen->count; i++) {
        if (seen->point == OBSERVE_TO_BE_EXECUTED) {
            add_run(events, run_kinds[0], seen->runs[i], NULL, NULL);
            continue;
        }
        const struct finished *end = seen->ends[i];
        bool over = seen->point == OBSERVE_COMPLETED;
        add_run(events, run_kinds[over ? 2 : 1], end->run, end->status, end->outcome);
        if (over)
            add_effects(events, end);
    }
}

/* A notification that was lost, and the bound of the log: looked after now and then. */
static void look_after(struct events *events)
{
    struct node *node = events->node;
    int64_t now = clock_boot_us();
    if (!node->member.leader)
        events->next_chore_boot_us = 0; /* what nobody was there to hear: at once, when it leads */
    if (!node->member.leader || now < events->next_chore_boot_us || !store_ready(node->session))
        return;
    events->next_chore_boot_us = now + CHORE_US;
    events_told(node);
    struct store_params params = {0};
    params_int64(&params, EVENTS_LOG_BYTES);
    store_call(node->session, SQL_EVENT_TURN, &params, 0, NULL, NULL);
    store_params_free(&params);
}

int events_observe(struct node *node, const struct observation *seen, struct rota_error *error)
{
    struct events *events = node->events;
    (void)error;
    if (seen->point == OBSERVE_HEARTBEAT) {
        look_after(events);
        return 0;
    }
    switch (seen->point) {
    case OBSERVE_TO_BE_EXECUTED:
    case OBSERVE_COMPLETED:
    case OBSERVE_PUT_BACK:
        add_runs(events, seen);
        break;
    case OBSERVE_MISFIRED:
        add_misfires(events, seen);
        break;
    case OBSERVE_BLOCKED:
        add_triggers(events, seen, "trigger.blocked");
        break;
    case OBSERVE_TRIGGER_ENDED:
        add_triggers(events, seen, "trigger.ended");
        break;
    case OBSERVE_TRIGGER_ERROR:
        add_triggers(events, seen, "trigger.error");
        break;
    default:
        add_node(events, seen);
        break;
    }
    bound(events);
    write_in(events, EVENTS_PAUSE_US);
    return 0;
}

/* ---- writing ---- */

static void put_group(struct buffer *out, const struct group *group)
{
    buffer_format(out, "%s\t{", group->key.kind);
    put_member(out, "job", group->job != NULL ? group->job->name : NULL);
    if (group->key.status != NULL) {
        buffer_char(out, ',');
        put_member(out, "status", group->key.status);
    }
    if (group->key.outcome != NULL) {
        buffer_char(out, ',');
        put_member(out, "outcome", group->key.outcome);
    }
    buffer_string(out, "}\t");
    buffer_append(out, group->ids.data, group->ids.length);
    buffer_char(out, '\n');
}

static void put_groups(struct buffer *out, const struct events *events)
{
    struct group *group, *next;
    for (int64_t part = 0; part <= events->part; part++)
        for (size_t kind = 0; kind < sizeof run_kinds / sizeof *run_kinds; kind++)
            HASH_ITER (hh, events->groups, group, next)
                if (group->key.part == part && group->key.kind == run_kinds[kind])
                    put_group(out, group);
}

static void make_batch(struct events *events)
{
    struct buffer *out = &events->batch;
    buffer_clear(out);
    if (events->lost > 0)
        buffer_format(out, "events.lost\t{\"changes\":%lld}\t\n", (long long)events->lost);
    events->batch_changes = events->changes + (events->lost > 0);
    put_groups(out, events);
    if (events->lines.length > 0)
        buffer_append(out, events->lines.data, events->lines.length);
    if (out->length > 0)
        out->length--; /* the end of the last line */
    groups_free(events);
    buffer_clear(&events->lines);
    events->lost = events->changes = 0;
    events->bytes = 0;
    events->batch_number++;
    events->again = false;
}

static void batch_over(struct events *events)
{
    buffer_clear(&events->batch);
    events->batch_changes = 0;
    if (events->changes > 0 || events->lost > 0)
        write_in(events, EVENTS_PAUSE_US);
}

static void not_written(struct events *events, const struct store_answer *answer)
{
    events->again = events->again || answer->unknown;
    if (store_fault(answer->error) == FAULT_RETRY) {
        write_in(events, RETRY_US);
        return;
    }
    log_warn(&events->node->log, "events cannot be written: they are lost",
             LOG_INT("changes", events->batch_changes), LOG_TEXT("error", answer->error->message));
    events->lost += events->batch_changes;
    metrics_events(events->node, 0, events->batch_changes);
    buffer_clear(&events->batch);
    events->batch_changes = 0;
    write_in(events, RETRY_US);
}

static void on_written(void *arg, const struct store_answer *answer)
{
    struct events *events = arg;
    events->out = false;
    if (answer->error != NULL) {
        not_written(events, answer);
    } else if (row_null(answer->result, 0, 0)) {
        events->told = true; /* whatever it was for */
        write_in(events, AGAIN_US + clock_monotonic_us() % AGAIN_US);
    } else {
        metrics_events(events->node, events->batch_changes, 0);
        batch_over(events);
    }
}

static void send_batch(struct events *events)
{
    struct node *node = events->node;
    struct store_params params = {0};
    params_text(&params, node->config->node_name);
    params_int64(&params, events->batch_number);
    params_bool(&params, events->again);
    params_int32(&params, (int32_t)events->batch_changes);
    params_text(&params, buffer_text(&events->batch));
    events->out = true;
    events->told = false;
    store_call(node->session, SQL_EVENT_WRITE, &params, 0, on_written, events);
    store_params_free(&params);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct events *events = arg;
    (void)fd;
    (void)what;
    if (events->out || !store_ready(events->node->session))
        return; /* events_ready() follows */
    if (events->batch_changes == 0)
        make_batch(events);
    if (events->batch_changes > 0 || events->told)
        send_batch(events);
}

void events_ready(struct node *node)
{
    write_in(node->events, 0);
}

void events_told(struct node *node)
{
    if (!node->member.leader)
        return;
    node->events->told = true;
    write_in(node->events, EVENTS_PAUSE_US);
}

static void on_time(evutil_socket_t fd, short what, void *arg)
{
    (void)fd; /* it turns the loop */
    (void)what;
    (void)arg;
}

static bool has_more(const struct events *events)
{
    return events->out || events->changes > 0 || events->batch_changes > 0;
}

void events_end(struct node *node)
{
    struct events *events = node->events;
    int64_t until_us = clock_monotonic_us() + END_US;
    struct timeval pause = clock_timeval(END_US);
    struct event *limit = evtimer_new(node->base, on_time, NULL);
    evtimer_add(limit, &pause);
    evtimer_del(events->timer);
    while (has_more(events) && store_ready(node->session) && clock_monotonic_us() < until_us) {
        write_in(events, 0);
        event_base_loop(node->base, EVLOOP_ONCE);
    }
    event_free(limit);
}
