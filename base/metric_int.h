/* Inside of a set of metrics: for metric.c and metric_text.c only. */
#ifndef BASE_METRIC_INT_H
#define BASE_METRIC_INT_H

#include "base/metric.h"

#include <stdatomic.h>

struct metric {
    const struct metric_family *family;
    _Atomic(struct metric *) next;
    char *values[METRIC_LABELS_MAX];
    size_t cell_count;
    _Atomic int64_t cells[]; /* of a histogram: each bucket's own, the rest, and the sum */
};

struct metric_family_state {
    const struct metric_family *family;
    _Atomic(struct metric *) first;
    _Atomic(struct metric *) *last; /* where the next child goes: the writer's */
    int count;
};

struct metric_set {
    size_t count;
    struct metric_family_state *families;
};

#endif
