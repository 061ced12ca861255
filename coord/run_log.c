/* Log lines of runs: see run_log.h. */
#include "coord/run_log.h"

#include "coord/details.h"
#include "coord/finished.h"
#include "coord/node.h"
#include "coord/trace.h"

#include "base/clock.h"

#include <stdlib.h>

static void log_end(struct node *node, const struct finished *end)
{
    const struct run *run = end->run;
    if (run->job == NULL || run->job->gone)
        return;
    char *headline = details_headline(end->json), trace[TRACE_ID_SIZE];
    int64_t duration_ms = end->duration_us >= 0 ? end->duration_us / US_PER_MS : -1;
    const struct log_field fields[] = {
        LOG_TEXT("job", run->job->name),
        LOG_TEXT("trigger", run->trigger != NULL ? run->trigger->name : NULL),
        LOG_TEXT("outcome", end->outcome),
        LOG_INT("duration_ms", duration_ms),
        LOG_INT("run", run->key.id),
        LOG_INT("fence", run->key.fence),
        LOG_INT("attempt", run->attempt),
        LOG_TEXT("message", headline),
        LOG_TEXT("trace_id", trace), /* of those that have one */
    };
    int count = sizeof fields / sizeof *fields - (trace_id(run->traceparent, trace) != 0);
    log_write(&node->log, LOG_INFO, end->status != NULL ? "run finished" : "run put back", fields,
              count);
    free(headline);
}

int run_log_observe(struct node *node, const struct observation *seen, struct rota_error *error)
{
    (void)error;
    for (size_t i = 0; node->config->log_runs && i < seen->count; i++)
        log_end(node, seen->ends[i]);
    return 0;
}
