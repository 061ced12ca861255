/* Who is told of what happens in a node: a row each. What they may see: observe.h. */
#include "coord/metrics.h"
#include "coord/observe.h"
#include "coord/run_log.h"

const struct observer observers_table[] = {
    {"metrics", UINT32_MAX, metrics_observe},
    {"run log", OBSERVE_BIT(OBSERVE_COMPLETED) | OBSERVE_BIT(OBSERVE_PUT_BACK), run_log_observe},
};
const size_t observers_count = sizeof observers_table / sizeof *observers_table;
