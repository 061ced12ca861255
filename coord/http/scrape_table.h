/* The families that are made when somebody asks: of the cluster, and of this process. */
#ifndef COORD_HTTP_SCRAPE_TABLE_H
#define COORD_HTTP_SCRAPE_TABLE_H

#include "base/metric.h"

enum cluster_metric {
    CLUSTER_STATES,
    CLUSTER_QUEUE_DEPTH,
    CLUSTER_QUEUE_OLDEST,
    CLUSTER_QUEUE_RUNS,
    CLUSTER_TRIGGER_OLDEST,
    CLUSTER_NODES,
    CLUSTER_UNSERVED,
    CLUSTER_HORIZON,
    CLUSTER_DEAD_ROWS,
    CLUSTER_LIVE_ROWS,
    CLUSTER_NOTIFY_USAGE,
    CLUSTER_SCHEMA_VERSION,
    CLUSTER_HISTORY_ROWS,
    CLUSTER_HISTORY_PARTITIONS,
    CLUSTER_HISTORY_BYTES,
    CLUSTER_LOCKS_HELD,
    CLUSTER_EVENT_BYTES,
    CLUSTER_NUMBERS, /* these have a name in fleet_numbers.sql, the others do not */
    CLUSTER_READING_AGE = CLUSTER_NUMBERS,
    CLUSTER_READING_TOOK,
    CLUSTER_READING_FAILURES,
    CLUSTER_METRIC_COUNT
};

enum process_metric {
    PROCESS_CPU,
    PROCESS_RESIDENT,
    PROCESS_VIRTUAL,
    PROCESS_FDS,
    PROCESS_FDS_MAX,
    PROCESS_START,
    ROTA_PROCESS_CPU,
    ROTA_PROCESS_RESIDENT,
    ROTA_PROCESS_FDS,
    PROCESS_METRIC_COUNT
};

extern const struct metric_family cluster_table[CLUSTER_METRIC_COUNT];
extern const struct metric_family process_table[PROCESS_METRIC_COUNT];
extern const char *const cluster_numbers[CLUSTER_NUMBERS]; /* as fleet_numbers.sql calls them */

#endif
