/*
 * Numbers about a process and their text for Prometheus and OpenMetrics. One thread writes, others
 * may print at the same time: every number is a relaxed atomic of its own, there is no lock, and
 * what costs something on the way of a run is one addition. What a number means is in the table of
 * families that the set is made from. A family has a bounded number of children (sets of label
 * values); they appear once and stay.
 */
#ifndef BASE_METRIC_H
#define BASE_METRIC_H

#include "base/buffer.h"

#include <stddef.h>
#include <stdint.h>

#define METRIC_LABELS_MAX 2
#define METRIC_BOUNDS_MAX 20
#define METRIC_OTHER      "other" /* where a family is full, this child takes the rest */

enum metric_kind {
    METRIC_COUNTER,
    METRIC_GAUGE,
    METRIC_HISTOGRAM,
    METRIC_AGE,  /* a gauge: seconds since the instant (clock_boot_us) that is kept; 0: no sample */
    METRIC_LEFT, /* a gauge: seconds until then, negative when it has passed; 0: no sample */
};

enum metric_format { METRIC_PROMETHEUS, METRIC_OPENMETRICS };

struct metric_family {
    const char *name; /* of counters without _total */
    enum metric_kind kind;
    int64_t scale; /* numbers are kept whole: so many make one of the unit; 0: as 1 */
    const char *labels[METRIC_LABELS_MAX];
    int children_max;      /* 0: as 1 */
    const int64_t *bounds; /* of a histogram, ascending, ended by 0; in kept numbers */
    const char *help;
};

struct metric; /* one child */
struct metric_set;

/* The table must outlive the set. Families without labels have their child at once. */
struct metric_set *metric_set_new(const struct metric_family *families, size_t count);
void metric_set_free(struct metric_set *set); /* NULL is fine */

/* For the writing thread. Values beyond the labels are ignored; never NULL. */
struct metric *metric_child(struct metric_set *set, size_t family, const char *first,
                            const char *second);
void metric_add(struct metric *metric, int64_t more);
void metric_put(struct metric *metric, int64_t value);
void metric_observe(struct metric *metric, int64_t value);
void metric_zero(struct metric_set *set, size_t family); /* all children, before a new reading */
int64_t metric_value(const struct metric *metric);       /* of a histogram: how many */

/* Appends all families; `now_boot_us` for ages. metric_end() after the last set of a document. */
void metric_print(const struct metric_set *set, enum metric_format format, int64_t now_boot_us,
                  struct buffer *out);
void metric_end(enum metric_format format, struct buffer *out);

/* What an Accept header asks for (NULL: none): OpenMetrics only where it is preferred. */
enum metric_format metric_accepted(const char *accept);
const char *metric_content_type(enum metric_format format);

#endif
