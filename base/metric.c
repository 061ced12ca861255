/* Sets of metrics and their children: see metric.h. How they are printed: metric_text.c. */
#include "base/metric_int.h"

#include "base/memory.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static int labels_of(const struct metric_family *family)
{
    int count = 0;
    while (count < METRIC_LABELS_MAX && family->labels[count] != NULL)
        count++;
    return count;
}

static size_t cells_of(const struct metric_family *family)
{
    size_t bounds = 0;
    if (family->kind != METRIC_HISTOGRAM)
        return 1;
    while (family->bounds[bounds] != 0)
        bounds++;
    assert(bounds <= METRIC_BOUNDS_MAX);
    return bounds + 2; /* one beyond the last bound, and the sum */
}

/* Published whole: whoever prints sees a child with its labels or not at all. */
static struct metric *child_new(struct metric_family_state *state, const char *const *values)
{
    size_t cells = cells_of(state->family);
    struct metric *child = mem_alloc(sizeof *child + cells * sizeof *child->cells);
    child->family = state->family;
    child->cell_count = cells;
    for (int i = 0; i < labels_of(state->family); i++)
        child->values[i] = mem_string(values[i]);
    atomic_store_explicit(state->last, child, memory_order_release);
    state->last = &child->next;
    state->count++;
    return child;
}

struct metric_set *metric_set_new(const struct metric_family *families, size_t count)
{
    struct metric_set *set = mem_alloc(sizeof *set);
    set->count = count;
    set->families = mem_array(count, sizeof *set->families);
    for (size_t i = 0; i < count; i++) {
        struct metric_family_state *state = &set->families[i];
        *state = (struct metric_family_state){.family = &families[i]};
        state->last = &state->first;
        if (labels_of(&families[i]) == 0)
            child_new(state, NULL);
    }
    return set;
}

void metric_set_free(struct metric_set *set)
{
    if (set == NULL)
        return;
    for (size_t i = 0; i < set->count; i++) {
        struct metric *child = set->families[i].first;
        while (child != NULL) {
            struct metric *next = child->next;
            for (int label = 0; label < METRIC_LABELS_MAX; label++)
                free(child->values[label]);
            free(child);
            child = next;
        }
    }
    free(set->families);
    free(set);
}

static struct metric *find(const struct metric_family_state *state, const char *const *values)
{
    int labels = labels_of(state->family);
    for (struct metric *child = state->first; child != NULL; child = child->next) {
        int same = 0;
        while (same < labels && strcmp(child->values[same], values[same]) == 0)
            same++;
        if (same == labels)
            return child;
    }
    return NULL;
}

struct metric *metric_child(struct metric_set *set, size_t family, const char *first,
                            const char *second)
{
    assert(family < set->count);
    struct metric_family_state *state = &set->families[family];
    const char *values[METRIC_LABELS_MAX] = {first, second};
    static const char *const others[METRIC_LABELS_MAX] = {METRIC_OTHER, METRIC_OTHER};
    struct metric *child = find(state, values);
    if (child != NULL)
        return child;
    if (state->count < state->family->children_max)
        return child_new(state, values);
    child = find(state, others);
    return child != NULL ? child : child_new(state, others);
}

/* There is one writer: reading and writing need not be one step. */
static void cell_add(_Atomic int64_t *cell, int64_t more)
{
    int64_t value = atomic_load_explicit(cell, memory_order_relaxed);
    atomic_store_explicit(cell, value + more, memory_order_relaxed);
}

void metric_add(struct metric *metric, int64_t more)
{
    assert(metric->family->kind != METRIC_HISTOGRAM && more >= 0);
    cell_add(&metric->cells[0], more);
}

void metric_put(struct metric *metric, int64_t value)
{
    assert(metric->family->kind != METRIC_HISTOGRAM);
    atomic_store_explicit(&metric->cells[0], value, memory_order_relaxed);
}

void metric_observe(struct metric *metric, int64_t value)
{
    const int64_t *bounds = metric->family->bounds;
    size_t cell = 0;
    assert(metric->family->kind == METRIC_HISTOGRAM);
    while (bounds[cell] != 0 && value > bounds[cell])
        cell++;
    cell_add(&metric->cells[cell], 1);
    cell_add(&metric->cells[metric->cell_count - 1], value > 0 ? value : 0);
}

void metric_zero(struct metric_set *set, size_t family)
{
    assert(family < set->count);
    for (struct metric *child = set->families[family].first; child != NULL; child = child->next)
        for (size_t i = 0; i < child->cell_count; i++)
            atomic_store_explicit(&child->cells[i], 0, memory_order_relaxed);
}

int64_t metric_value(const struct metric *metric)
{
    int64_t value = 0;
    size_t last = metric->family->kind == METRIC_HISTOGRAM ? metric->cell_count - 1 : 1;
    for (size_t i = 0; i < last; i++)
        value += atomic_load_explicit(&metric->cells[i], memory_order_relaxed);
    return value;
}
