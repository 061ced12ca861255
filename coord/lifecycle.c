/* The life of a node. Only running nodes acquire; every other state keeps what it has or lets it
 * end. */
#include "coord/lifecycle.h"

static const char *const states[] = {"uninitialised", "standby",  "running",
                                     "disabled",      "draining", "stopped"};
static const char *const events[] = {"initialised", "start", "disable",
                                     "stand by",    "stop",  "drained"};
static const struct machine_row rows[] = {
    {NODE_UNINITIALISED, NODE_INITIALISED, NODE_STANDBY,
     "schema, registration and manifests are in place"},
    {NODE_UNINITIALISED, NODE_STOP, NODE_STOPPED, "stopped before it was initialised"},
    {NODE_STANDBY, NODE_START, NODE_RUNNING, "it may acquire and fire"},
    {NODE_STANDBY, NODE_DISABLE, NODE_DISABLED, "the scheduler is disabled by a setting"},
    {NODE_STANDBY, NODE_STOP, NODE_DRAINING, "asked to stop"},
    {NODE_RUNNING, NODE_STAND_BY, NODE_STANDBY, "asked to stop acquiring"},
    {NODE_RUNNING, NODE_STOP, NODE_DRAINING, "asked to stop: lets runs finish within the grace"},
    {NODE_DISABLED, NODE_STOP, NODE_DRAINING, "asked to stop"},
    {NODE_DRAINING, NODE_STOP, NODE_DRAINING, "asked again: hurries"},
    {NODE_DRAINING, NODE_DRAINED, NODE_STOPPED, "nothing runs and all results are written"},
};
const struct machine node_machine = {"node", states, events, rows, sizeof rows / sizeof *rows};
