/* How observers are told of a batch: see observe.h. Who they are: observers.c. */
#include "coord/observe.h"

#include "coord/finished.h"
#include "coord/fire.h"
#include "coord/node.h"

#include <assert.h>

void observe_init(struct node *node, const struct observer *table, size_t count)
{
    node->observers = (struct observers){.table = table, .count = count};
    for (size_t i = 0; i < count; i++)
        node->observers.wanted |= table[i].points;
}

static bool wanted(const struct node *node, enum observe_point point)
{
    return (node->observers.wanted & OBSERVE_BIT(point)) != 0;
}

static void tell(struct node *node, const struct observation *seen)
{
    for (size_t i = 0; i < node->observers.count; i++) {
        const struct observer *observer = &node->observers.table[i];
        struct rota_error error = {0};
        if ((observer->points & OBSERVE_BIT(seen->point)) == 0 ||
            observer->tell(node, seen, &error) == 0)
            continue;
        node->observers.failures++;
        log_warn(&node->log, "an observer failed: what it looks at goes on without it",
                 LOG_TEXT("observer", observer->name), LOG_TEXT("error", error.message));
    }
}

void observe_begun(struct node *node, struct run *const *runs, size_t count)
{
    if (count > 0 && wanted(node, OBSERVE_TO_BE_EXECUTED))
        tell(node,
             &(struct observation){.point = OBSERVE_TO_BE_EXECUTED, .count = count, .runs = runs});
}

/* ---- ends ---- */

static bool is_at(const struct finished *end, enum observe_point point)
{
    bool begun = end->run->started_us != 0, over = end->status != NULL;
    switch (point) {
    case OBSERVE_EXECUTED:
        return begun && (over || end->json != NULL); /* whole put-backs have nothing to tell */
    case OBSERVE_COMPLETED:
        return over;
    case OBSERVE_PUT_BACK:
        return !over;
    default:
        assert(point == OBSERVE_VETOED);
        return !begun;
    }
}

static void tell_ends(struct node *node, enum observe_point point, struct finished *const *ends,
                      size_t count)
{
    struct finished *chosen[BATCH_MAX];
    struct observation seen = {.point = point, .ends = chosen};
    assert(count <= BATCH_MAX);
    for (size_t i = 0; i < count; i++)
        if (is_at(ends[i], point))
            chosen[seen.count++] = ends[i];
    if (seen.count > 0)
        tell(node, &seen);
}

void observe_written(struct node *node, struct finished *const *ends, size_t count, int64_t late)
{
    static const enum observe_point points[] = {OBSERVE_VETOED, OBSERVE_EXECUTED, OBSERVE_PUT_BACK,
                                                OBSERVE_COMPLETED};
    for (size_t i = 0; i < sizeof points / sizeof *points; i++)
        if (wanted(node, points[i]))
            tell_ends(node, points[i], ends, count);
    if (late > 0)
        observe_count(node, OBSERVE_LATE, (size_t)late);
}

/* ---- triggers ---- */

static bool advanced_at(const struct fire_advance *advance, enum observe_point point)
{
    switch (point) {
    case OBSERVE_FIRED:
        return advance->fired > 0;
    case OBSERVE_MISFIRED:
        return advance->misfired > 0 || advance->missed > 0;
    case OBSERVE_BLOCKED:
        return advance->blocked;
    case OBSERVE_TRIGGER_ERROR:
        return advance->error != NULL;
    default:
        assert(point == OBSERVE_TRIGGER_ENDED);
        return advance->error == NULL && advance->next_us == STORE_NULL_TIME;
    }
}

static void tell_triggers(struct node *node, enum observe_point point, const struct fire *fire)
{
    const struct fire_advance *chosen[NODE_CLAIM_MAX];
    struct observation seen = {.point = point, .triggers = chosen};
    for (size_t i = 0; i < fire->trigger_count; i++)
        if (advanced_at(&fire->triggers[i], point))
            chosen[seen.count++] = &fire->triggers[i];
    if (seen.count > 0)
        tell(node, &seen);
}

void observe_fired(struct node *node, const struct fire *fire)
{
    static const enum observe_point points[] = {OBSERVE_FIRED, OBSERVE_MISFIRED, OBSERVE_BLOCKED,
                                                OBSERVE_TRIGGER_ERROR, OBSERVE_TRIGGER_ENDED};
    if (fire->run_count > 0)
        observe_count(node, OBSERVE_CLAIMED, fire->run_count);
    for (size_t i = 0; i < sizeof points / sizeof *points; i++)
        if (wanted(node, points[i]))
            tell_triggers(node, points[i], fire);
}

/* ---- the rest is rare ---- */

void observe_count(struct node *node, enum observe_point point, size_t count)
{
    if (wanted(node, point))
        tell(node, &(struct observation){.point = point, .count = count});
}

void observe_recovered(struct node *node, const char *dead, int64_t put_back, int64_t lost)
{
    if (wanted(node, OBSERVE_RECOVERED))
        tell(node, &(struct observation){.point = OBSERVE_RECOVERED,
                                         .name = dead,
                                         .count = (size_t)put_back,
                                         .other = lost});
}

void observe_moved(struct node *node, const char *state, const char *why)
{
    if (wanted(node, OBSERVE_NODE_MOVED))
        tell(node, &(struct observation){.point = OBSERVE_NODE_MOVED, .name = state, .text = why});
}

static struct trigger *known(const struct node *node, int32_t trigger_id)
{
    struct trigger *trigger = definitions_trigger_seen(node->definitions, trigger_id, 0);
    return trigger != NULL && !trigger->gone ? trigger : NULL;
}

const char *observe_trigger_name(const struct node *node, int32_t trigger_id)
{
    const struct trigger *trigger = known(node, trigger_id);
    return trigger != NULL ? trigger->name : NULL;
}

const char *observe_job_name(const struct node *node, int32_t trigger_id)
{
    const struct trigger *trigger = known(node, trigger_id);
    const struct job *job =
        trigger != NULL ? definitions_job(node->definitions, trigger->job_id, 0) : NULL;
    return job != NULL && !job->gone ? job->name : NULL;
}
