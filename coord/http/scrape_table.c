/* What is told of the cluster and of this process: see scrape_table.h. */
#include "coord/http/scrape_table.h"

#include "base/clock.h"

#define SECONDS US_PER_SECOND
#define MILLION 1000000

const struct metric_family cluster_table[CLUSTER_METRIC_COUNT] = {
    [CLUSTER_STATES] = {"metabase_tasks_quartz_tasks_states", METRIC_GAUGE, .labels = {"state"},
                        .children_max = 8,
                        .help = "Triggers of the whole cluster by state; EXECUTING: runs in "
                                "flight."},
    [CLUSTER_QUEUE_DEPTH] = {"rota_queue_depth", METRIC_GAUGE, .labels = {"priority"},
                             .children_max = 100,
                             .help =
                                 "Runs that are due and wait for a slot, cluster, by priority."},
    [CLUSTER_QUEUE_OLDEST] = {"rota_queue_oldest_age_seconds", METRIC_GAUGE, SECONDS,
                              .labels = {"priority"}, .children_max = 100,
                              .help = "How long the oldest of them has been due; 0: there is "
                                      "none."},
    [CLUSTER_QUEUE_RUNS] = {"rota_queue_runs", METRIC_GAUGE, .labels = {"state"}, .children_max = 8,
                            .help = "Runs that wait, cluster, and for what: due, scheduled, "
                                    "paused, lane, after, rate."},
    [CLUSTER_TRIGGER_OLDEST] = {"rota_trigger_oldest_due_age_seconds", METRIC_GAUGE, SECONDS,
                                .help = "How late the trigger is that has been due for longest; "
                                        "0: none is due."},
    [CLUSTER_NODES] = {"rota_nodes", METRIC_GAUGE, .labels = {"state", "version"},
                       .children_max = 32,
                       .help = "Nodes with a good lease, by state and version."},
    [CLUSTER_UNSERVED] = {"rota_unserved_handlers", METRIC_GAUGE,
                          .help = "Handlers that something waits for and no running node serves."},
    [CLUSTER_HORIZON] = {"rota_vacuum_horizon_age_seconds", METRIC_GAUGE, SECONDS,
                         .help = "Age of the oldest transaction whose snapshot keeps deleted rows "
                                 "from being cleaned away."},
    [CLUSTER_DEAD_ROWS] = {"rota_table_dead_rows", METRIC_GAUGE, .labels = {"table"},
                           .children_max = 4,
                           .help = "Deleted rows of a hot table that are not cleaned away yet, "
                                   "estimated."},
    [CLUSTER_LIVE_ROWS] = {"rota_table_live_rows", METRIC_GAUGE, .labels = {"table"},
                           .children_max = 4, .help = "Rows of a hot table, estimated."},
    [CLUSTER_NOTIFY_USAGE] = {"rota_notify_queue_usage_ratio", METRIC_GAUGE, MILLION,
                              .help = "How full the server's queue of notifications is."},
    [CLUSTER_SCHEMA_VERSION] = {"rota_schema_version", METRIC_GAUGE,
                                .help = "The newest migration of the schema."},
    [CLUSTER_HISTORY_ROWS] = {"rota_history_rows", METRIC_GAUGE,
                              .help = "Rows of the history, estimated."},
    [CLUSTER_HISTORY_PARTITIONS] = {"rota_history_partitions", METRIC_GAUGE,
                                    .help = "Partitions of the history, those made ahead "
                                            "included."},
    [CLUSTER_HISTORY_BYTES] = {"rota_history_size_bytes", METRIC_GAUGE,
                               .help = "What the history takes on disk."},
    [CLUSTER_LOCKS_HELD] = {"rota_cluster_locks_held", METRIC_GAUGE,
                            .help = "Cluster locks somebody holds exclusively."},
    [CLUSTER_EVENT_BYTES] = {"rota_event_log_size_bytes", METRIC_GAUGE,
                             .help = "What the event log takes on disk."},
    [CLUSTER_READING_AGE] = {"rota_cluster_reading_age_seconds", METRIC_AGE,
                             .help = "How old the numbers of the cluster are; absent: there are "
                                     "none."},
    [CLUSTER_READING_TOOK] = {"rota_cluster_reading_duration_seconds", METRIC_GAUGE, SECONDS,
                              .help = "How long the database took to read them."},
    [CLUSTER_READING_FAILURES] = {"rota_cluster_reading_failures", METRIC_COUNTER,
                                  .help = "Readings of the cluster that failed."},
};

const char *const cluster_numbers[CLUSTER_NUMBERS] = {
    [CLUSTER_STATES] = "states",
    [CLUSTER_QUEUE_DEPTH] = "queue_depth",
    [CLUSTER_QUEUE_OLDEST] = "queue_oldest",
    [CLUSTER_QUEUE_RUNS] = "queue_runs",
    [CLUSTER_TRIGGER_OLDEST] = "trigger_oldest",
    [CLUSTER_NODES] = "nodes",
    [CLUSTER_UNSERVED] = "unserved",
    [CLUSTER_HORIZON] = "horizon",
    [CLUSTER_DEAD_ROWS] = "dead_rows",
    [CLUSTER_LIVE_ROWS] = "live_rows",
    [CLUSTER_NOTIFY_USAGE] = "notify_usage",
    [CLUSTER_SCHEMA_VERSION] = "schema_version",
    [CLUSTER_HISTORY_ROWS] = "history_rows",
    [CLUSTER_HISTORY_PARTITIONS] = "history_partitions",
    [CLUSTER_HISTORY_BYTES] = "history_bytes",
    [CLUSTER_LOCKS_HELD] = "locks_held",
    [CLUSTER_EVENT_BYTES] = "event_bytes",
};

/* Under the names of every exporter, for dashboards that know no rota, and under ours. */
const struct metric_family process_table[PROCESS_METRIC_COUNT] = {
    [PROCESS_CPU] = {"process_cpu_seconds", METRIC_COUNTER, SECONDS,
                     .help = "CPU time of this node's coordinator."},
    [PROCESS_RESIDENT] = {"process_resident_memory_bytes", METRIC_GAUGE,
                          .help = "Memory of the coordinator that is in RAM."},
    [PROCESS_VIRTUAL] = {"process_virtual_memory_bytes", METRIC_GAUGE,
                         .help = "Address space of the coordinator."},
    [PROCESS_FDS] = {"process_open_fds", METRIC_GAUGE, .help = "Open descriptors."},
    [PROCESS_FDS_MAX] = {"process_max_fds", METRIC_GAUGE, .help = "How many it may open."},
    [PROCESS_START] = {"process_start_time_seconds", METRIC_GAUGE, 100,
                       .help = "When the coordinator started, since 1970."},
    [ROTA_PROCESS_CPU] = {"rota_process_cpu_seconds", METRIC_COUNTER, SECONDS,
                          .help = "As process_cpu_seconds_total."},
    [ROTA_PROCESS_RESIDENT] = {"rota_process_resident_memory_bytes", METRIC_GAUGE,
                               .help = "As process_resident_memory_bytes."},
    [ROTA_PROCESS_FDS] = {"rota_process_open_fds", METRIC_GAUGE, .help = "As process_open_fds."},
};
