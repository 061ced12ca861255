/* The states of a trigger. What statements move by themselves is in the table, too. */
#include "coord/trigger_state.h"

static const char *const states[] = {"waiting", "blocked", "error", "complete"};
static const char *const letters[] = {"W", "B", "E", "C"};
static const char *const events[] = {
    "fired",       "ended", "lane full",   "lane freed",  "unevaluable",           "exhausted",
    "unscheduled", "reset", "reset ended", "rescheduled", "rescheduled, but ended"};
static const struct machine_row rows[] = {
    {TRIGGER_WAITING, TRIGGER_FIRED, TRIGGER_WAITING, "it occurs again"},
    {TRIGGER_WAITING, TRIGGER_ENDED, TRIGGER_COMPLETE, "no further occurrence"},
    {TRIGGER_WAITING, TRIGGER_LANE_FULL, TRIGGER_BLOCKED, "its job runs as often as it may"},
    {TRIGGER_WAITING, TRIGGER_UNEVALUABLE, TRIGGER_ERROR, "its definition cannot be evaluated"},
    {TRIGGER_WAITING, TRIGGER_EXHAUSTED, TRIGGER_ERROR, "a run of it has failed for good"},
    {TRIGGER_WAITING, TRIGGER_UNSCHEDULED, TRIGGER_COMPLETE, "a worker ended it"},
    {TRIGGER_WAITING, TRIGGER_RESCHEDULED, TRIGGER_WAITING, "it has a new schedule"},
    {TRIGGER_WAITING, TRIGGER_RESCHEDULED_ENDED, TRIGGER_COMPLETE, "its new schedule is over"},
    {TRIGGER_BLOCKED, TRIGGER_LANE_FREED, TRIGGER_WAITING, "a slot of its lane is free"},
    {TRIGGER_BLOCKED, TRIGGER_EXHAUSTED, TRIGGER_ERROR, "a run of it has failed for good"},
    {TRIGGER_BLOCKED, TRIGGER_UNSCHEDULED, TRIGGER_COMPLETE, "a worker ended it"},
    {TRIGGER_BLOCKED, TRIGGER_RESCHEDULED, TRIGGER_WAITING, "it tries its lane again"},
    {TRIGGER_BLOCKED, TRIGGER_RESCHEDULED_ENDED, TRIGGER_COMPLETE, "its new schedule is over"},
    {TRIGGER_ERROR, TRIGGER_UNSCHEDULED, TRIGGER_COMPLETE, "a worker ended it"},
    {TRIGGER_ERROR, TRIGGER_RESET, TRIGGER_WAITING, "somebody who can evaluate it has reset it"},
    {TRIGGER_ERROR, TRIGGER_RESET_ENDED, TRIGGER_COMPLETE, "reset, but there is nothing left"},
    {TRIGGER_ERROR, TRIGGER_RESCHEDULED, TRIGGER_WAITING, "what was wrong may be right now"},
    {TRIGGER_ERROR, TRIGGER_RESCHEDULED_ENDED, TRIGGER_COMPLETE, "its new schedule is over"},
    {TRIGGER_COMPLETE, TRIGGER_UNSCHEDULED, TRIGGER_COMPLETE, "it had ended already"},
    {TRIGGER_COMPLETE, TRIGGER_RESCHEDULED, TRIGGER_WAITING, "it occurs again after all"},
    {TRIGGER_COMPLETE, TRIGGER_RESCHEDULED_ENDED, TRIGGER_COMPLETE, "its new schedule is over"},
};
const struct machine trigger_machine = {"trigger", states, events, rows,
                                        sizeof rows / sizeof *rows};

const char *trigger_moved(enum trigger_state from, enum trigger_event event)
{
    return letters[machine_move(&trigger_machine, (int)from, (int)event)->to];
}
