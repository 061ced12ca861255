/*
 * Inside of a zone, shared by the files that fill it: zone.c (names, cache, questions), zone_tzif.c
 * (the file format), zone_rule.c (the rule at a file's end) and zone_names.c (suggestions).
 */
#ifndef COORD_SCHEDULE_ZONE_TABLE_H
#define COORD_SCHEDULE_ZONE_TABLE_H

#include "base/buffer.h"
#include "coord/schedule/zone.h"

/* Neighbours differ in offset; starts[0] is ZONE_BEGIN_S. */
struct zone {
    int64_t *starts;
    int32_t *offsets;
    uint32_t count;
    uint32_t capacity;
    int references;
    char name[ZONE_NAME_MAX + 1];
};

/* A date of each year in one of the three spellings of POSIX. */
struct zone_rule_date {
    enum { RULE_MONTH_WEEK_DAY, RULE_DAY_WITHOUT_LEAP, RULE_DAY_WITH_LEAP } kind;
    int month; /* 1 to 12 */
    int week;  /* 1 to 5, 5 = last */
    int day;   /* weekday 0 to 6, or day of the year */
    int32_t time_s;
};

/* What a TZ string such as CET-1CEST,M3.5.0,M10.5.0/3 says. Offsets are seconds east. */
struct zone_rule {
    int32_t standard_s;
    int32_t summer_s;
    bool has_summer;
    struct zone_rule_date start;
    struct zone_rule_date end;
};

struct zone *zone_table_new(const char *name);
/* From start_s on the offset is offset_s. start_s must not lie before the last one given. */
void zone_table_append(struct zone *zone, int64_t start_s, int32_t offset_s);

int zone_rule_parse(struct slice text, struct zone_rule *ret_rule); /* 0 or -1 */
/* Appends the changes of the rule that lie after `after_s`, up to ZONE_LAST_YEAR. */
void zone_rule_extend(const struct zone_rule *rule, int64_t after_s, struct zone *zone);

/* The names under a zoneinfo directory, as one sorted list. */
struct zone_names {
    char **names;
    size_t count;
    size_t capacity;
};

void zone_names_read(struct zone_names *names, const char *directory);
void zone_names_free(struct zone_names *names);
/* The same name in other case, or else the nearest; NULL if nothing is near. */
const char *zone_names_nearest(const struct zone_names *names, const char *name);

#endif
