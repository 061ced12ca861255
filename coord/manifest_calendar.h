/*
 * Calendars of a manifest (contract, "Manifest"): read like jobs and triggers, stored in a
 * canonical form, and evaluated from that form by nodes. What a calendar means is in
 * coord/schedule.
 */
#ifndef COORD_MANIFEST_CALENDAR_H
#define COORD_MANIFEST_CALENDAR_H

#include "coord/manifest_value.h"

struct manifest_texts {
    char **items;
    size_t count;
};

struct manifest_calendar {
    char *name;
    char *description;
    char *timezone;              /* NULL: that of the trigger that uses it */
    char *base;                  /* name of the calendar it stands on; NULL: none */
    struct manifest_texts dates; /* each canonical and sorted, none twice */
    struct manifest_texts annual;
    struct manifest_texts cron;
    unsigned weekly; /* bit 0: Sunday */
    struct calendar_window *daily;
    size_t daily_count;
    char *definition; /* canonical: equal texts mean that nothing changed */
    size_t offset;    /* where it begins in the manifest's text, and where its base is named */
    size_t base_offset;
};

/* The calendars of a manifest, into reader->manifest. */
void manifest_read_calendars(struct manifest_reader *reader, const struct json_value *array);

/* Sets `definition`. */
void manifest_define_calendar(struct manifest_calendar *calendar);

/* To be unref'ed by calendar_unref(); NULL with an error, as of calendar_new(). */
struct calendar *manifest_calendar_new(const struct manifest_calendar *calendar,
                                       struct calendar *base, struct zone_cache *zones,
                                       struct rota_error *error);

/* The same from a stored definition, which may have been written by hand. */
struct calendar *manifest_calendar_parse(const char *name, const char *definition,
                                         struct calendar *base, struct zone_cache *zones,
                                         struct rota_error *error);

void manifest_calendar_free(struct manifest_calendar *calendar); /* what it holds */

#endif
