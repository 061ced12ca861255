/* The life of a node as a table: see lifecycle.c, and the diagram in CONTRIBUTING.md made from it.
 */
#ifndef COORD_LIFECYCLE_H
#define COORD_LIFECYCLE_H

#include "base/machine.h"

enum node_state {
    NODE_UNINITIALISED,
    NODE_STANDBY,
    NODE_RUNNING,
    NODE_DISABLED,
    NODE_DRAINING,
    NODE_STOPPED
};

enum node_event {
    NODE_INITIALISED, /* connected, migrated, registered, manifests applied */
    NODE_START,       /* begin to fire */
    NODE_DISABLE,     /* MB_DISABLE_SCHEDULER: initialised, but never fires */
    NODE_STAND_BY,    /* stop acquiring, keep what runs */
    NODE_STOP,        /* SIGTERM, SIGINT, lost guard */
    NODE_DRAINED      /* nothing runs and nothing is unwritten, or the grace is over */
};

extern const struct machine node_machine;

#endif
