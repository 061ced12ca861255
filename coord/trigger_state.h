/*
 * The states of a trigger as a table: see trigger_state.c, and the diagram in CONTRIBUTING.md made
 * from it. Paused is no state but a flag beside it, so that nothing is forgotten on resume; that a
 * run of it is out is what the receipts say.
 */
#ifndef COORD_TRIGGER_STATE_H
#define COORD_TRIGGER_STATE_H

#include "base/machine.h"

enum trigger_state { TRIGGER_WAITING, TRIGGER_BLOCKED, TRIGGER_ERROR, TRIGGER_COMPLETE };

enum trigger_event {
    TRIGGER_FIRED,       /* and it occurs again */
    TRIGGER_ENDED,       /* fired or passed over, and there is no further occurrence */
    TRIGGER_LANE_FULL,   /* due, but its job runs as often as it may */
    TRIGGER_LANE_FREED,  /* rota.lane_wake() */
    TRIGGER_UNEVALUABLE, /* schedule, zone or calendar */
    TRIGGER_EXHAUSTED,   /* run_effects.sql, for jobs with on_exhausted */
    TRIGGER_UNSCHEDULED, /* run_effects.sql */
    TRIGGER_RESET,       /* trigger_reset.sql */
    TRIGGER_RESET_ENDED, /* and nothing was left of it */
    TRIGGER_RESCHEDULED, /* by an apply, or because its calendar or its lane has changed */
    TRIGGER_RESCHEDULED_ENDED
};

extern const struct machine trigger_machine;

/* The state it comes to, as the database spells it: W, B, E or C. */
const char *trigger_moved(enum trigger_state from, enum trigger_event event);

#endif
