/*
 * Calendars in an apply: what is declared beside what there is, evaluated with the stacks as they
 * will be, and who uses them. Part of apply_plan.h; for the files of apply only.
 */
#ifndef COORD_APPLY_CALENDAR_H
#define COORD_APPLY_CALENDAR_H

#include "coord/apply_plan.h"
#include "coord/manifest_calendar.h"

struct plan_calendar {
    const char *name, *source;
    const struct manifest *manifest; /* NULL: not declared here */
    const struct manifest_calendar *declared;
    const char *was;  /* definition; NULL: new */
    const char *base; /* as it will be; NULL: none */
    bool changed;     /* or new */
    bool goes;
    bool affected; /* it, or one it stands on, may exclude other time than before */
    bool making;   /* while what it stands on is made */
    bool made;     /* or failed to be: error says why */
    struct calendar *calendar;
    char *error;
    struct manifest_differences differences;
};

/* Takes over all calendars there are, and compares them; problems are the set's. */
void plan_take_calendars(struct apply_plan *plan, PGresult *rows);
/* Those whose users are wanted: affected ones and those that go. To be freed, the names are not. */
const char **plan_calendars_in_motion(const struct apply_plan *plan, size_t *ret_count);
/* Once triggers are compared: what they name is there, and what goes is used no more. */
void plan_check_calendars(struct apply_plan *plan);
void plan_free_calendars(struct apply_plan *plan);

/* NULL: none of this name; NULL has no name. */
struct plan_calendar *plan_find_calendar(const struct apply_plan *plan, const char *name);

/* Triggers that follow an affected calendar (apply_due.c). */
void plan_find_moves(struct apply_plan *plan);
/* The first occurrence after an instant that the calendar (NULL: none) leaves. */
void plan_next(struct schedule *schedule, const struct plan_calendar *calendar, int64_t after_us,
               struct plan_due *due);

/* Each within the open transaction: what is new or changed, what goes, and who follows. */
int plan_write_calendars(struct apply_plan *plan, struct store *store, int64_t revision,
                         struct rota_error *error);
int plan_remove_calendars(struct apply_plan *plan, struct store *store, struct rota_error *error);
int plan_move_triggers(struct apply_plan *plan, struct store *store, int64_t revision,
                       struct rota_error *error);
const char *plan_state_text(char state); /* as the database is told */

#endif
