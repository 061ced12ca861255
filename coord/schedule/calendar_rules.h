/* Inside of a calendar, shared by calendar_new.c, which fills it, and calendar.c, which asks it. */
#ifndef COORD_SCHEDULE_CALENDAR_RULES_H
#define COORD_SCHEDULE_CALENDAR_RULES_H

#include "coord/schedule/calendar.h"
#include "coord/schedule/cron.h"

/* Seconds [from, to) of a day. */
struct calendar_stretch {
    int from;
    int to;
};

struct calendar {
    int references;
    int depth;        /* of the stack that ends here */
    size_t all_crons; /* of that stack */
    struct calendar *base;
    struct zone *zone; /* NULL: the trigger's */
    struct zone *utc;
    bool all;            /* no second is left, whatever the zone: found out once */
    uint8_t weekdays;    /* bit 0: Sunday */
    uint32_t annual[12]; /* by month; bit 0: the 1st */
    bool has_annual;
    int32_t *dates; /* days since 1970-01-01, sorted */
    size_t date_count;
    struct calendar_stretch *stretches; /* sorted, neither touching nor overlapping */
    size_t stretch_count;
    struct cron *crons;
    size_t cron_count;
};

#endif
