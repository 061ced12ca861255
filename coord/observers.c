/* Who is told of what happens in a node: a row each. What they may see: observe.h. */
#include "coord/events.h"
#include "coord/metrics.h"
#include "coord/node.h"
#include "coord/observe.h"
#include "coord/run_log.h"

#include "base/log_repeat.h"

static const struct observer table[] = {
    {"metrics", UINT32_MAX, metrics_observe},
    {"events",
     OBSERVE_BIT(OBSERVE_TO_BE_EXECUTED) | OBSERVE_BIT(OBSERVE_COMPLETED) |
         OBSERVE_BIT(OBSERVE_PUT_BACK) | OBSERVE_BIT(OBSERVE_MISFIRED) |
         OBSERVE_BIT(OBSERVE_BLOCKED) | OBSERVE_BIT(OBSERVE_TRIGGER_ENDED) |
         OBSERVE_BIT(OBSERVE_TRIGGER_ERROR) | OBSERVE_BIT(OBSERVE_RECOVERED) |
         OBSERVE_BIT(OBSERVE_FENCED) | OBSERVE_BIT(OBSERVE_NODE_MOVED) |
         OBSERVE_BIT(OBSERVE_HEARTBEAT),
     events_observe},
    {"run log", OBSERVE_BIT(OBSERVE_COMPLETED) | OBSERVE_BIT(OBSERVE_PUT_BACK), run_log_observe},
};

void observers_new(struct node *node)
{
    node->log.repeats = log_repeats_new();
    node->metrics = metrics_new();
    events_new(node);
    observe_init(node, table, sizeof table / sizeof *table);
}

void observers_free(struct node *node)
{
    events_free(node);
    metrics_free(node->metrics);
    log_repeats_free(node->log.repeats);
}
