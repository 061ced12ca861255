/* Writes the calendars of a plan and the triggers that follow them: see apply_calendar.h. */
#include "coord/apply_calendar.h"
#include "coord/apply_columns.h"

#include "base/memory.h"

#include <assert.h>
#include <stdlib.h>

const char *plan_state_text(char state)
{
    switch (state) {
    case 'W':
        return "W";
    case 'B':
        return "B";
    case 'C':
        return "C";
    default:
        assert(state == 'E');
        return "E";
    }
}

#define CALENDAR_COLUMN(function, expression)                                                      \
    static const char *function(const void *row)                                                   \
    {                                                                                              \
        const struct plan_calendar *calendar = row;                                                \
        return expression;                                                                         \
    }

CALENDAR_COLUMN(calendar_name, calendar->name)
CALENDAR_COLUMN(calendar_source, calendar->source)
CALENDAR_COLUMN(calendar_base, calendar->base)
CALENDAR_COLUMN(calendar_definition, calendar->declared->definition)

int plan_write_calendars(struct apply_plan *plan, struct store *store, int64_t revision,
                         struct rota_error *error)
{
    const void **rows = mem_array(plan->calendar_count, sizeof *rows);
    struct columns columns = {.rows = rows};
    for (size_t i = 0; i < plan->calendar_count; i++)
        if (plan->calendars[i].changed)
            rows[columns.count++] = &plan->calendars[i];
    int failed = 0;
    if (columns.count > 0) {
        columns_texts(&columns, calendar_name);
        columns_texts(&columns, calendar_source);
        columns_texts(&columns, calendar_base);
        columns_texts(&columns, calendar_definition);
        params_int64(&columns.params, revision);
        failed = columns_run(&columns, store, SQL_MANIFEST_WRITE_CALENDARS, error);
    }
    free(rows);
    return failed;
}

int plan_remove_calendars(struct apply_plan *plan, struct store *store, struct rota_error *error)
{
    const void **rows = mem_array(plan->calendar_count, sizeof *rows);
    struct columns columns = {.rows = rows};
    for (size_t i = 0; i < plan->calendar_count; i++)
        if (plan->calendars[i].goes)
            rows[columns.count++] = &plan->calendars[i];
    int failed = 0;
    if (columns.count > 0) {
        columns_texts(&columns, calendar_name);
        failed = columns_run(&columns, store, SQL_MANIFEST_REMOVE_CALENDARS, error);
    }
    free(rows);
    return failed;
}

#define MOVE_COLUMN(type, function, expression)                                                    \
    static type function(const void *row)                                                          \
    {                                                                                              \
        const struct plan_move *move = row;                                                        \
        return expression;                                                                         \
    }

MOVE_COLUMN(int64_t, move_id, move->was->id)
MOVE_COLUMN(const char *, move_state, plan_state_text(move->due.state))
MOVE_COLUMN(int64_t, move_next, move->due.next_at_us)
MOVE_COLUMN(int64_t, move_final, move->due.final_at_us)
MOVE_COLUMN(int64_t, move_previous, move->due.previous_at_us)
MOVE_COLUMN(int64_t, move_fired, move->due.fired)
MOVE_COLUMN(int64_t, move_missed, move->due.missed)
MOVE_COLUMN(int64_t, move_misfired, move->due.misfired)

int plan_move_triggers(struct apply_plan *plan, struct store *store, int64_t revision,
                       struct rota_error *error)
{
    const void **rows = mem_array(plan->move_count, sizeof *rows);
    struct columns columns = {.rows = rows};
    for (size_t i = 0; i < plan->move_count; i++)
        if (plan->moves[i].was->locked) /* or deleted since it was read */
            rows[columns.count++] = &plan->moves[i];
    int failed = 0;
    if (columns.count > 0) {
        columns_int32s(&columns, move_id);
        columns_texts(&columns, move_state);
        columns_times(&columns, move_next);
        columns_times(&columns, move_previous);
        columns_int64s(&columns, move_fired);
        columns_int64s(&columns, move_missed);
        columns_int64s(&columns, move_misfired);
        params_int64(&columns.params, revision);
        columns_times(&columns, move_final);
        failed = columns_run(&columns, store, SQL_MANIFEST_MOVE_TRIGGERS, error);
    }
    free(rows);
    return failed;
}
