/*
 * Calendars as they are stored, evaluated: one struct calendar for all triggers that use the same
 * stack, however many. A result of definition_load.sql brings the texts of each stack once; what
 * was made of them is found by name until the stack reads otherwise.
 */
#ifndef COORD_CALENDARS_H
#define COORD_CALENDARS_H

#include "base/error.h"
#include "coord/schedule/calendar.h"

#include <stddef.h>

#define CALENDARS_MAX 1000 /* stacks a node keeps: results have 1000 triggers at most */

struct calendars;

/* `most` stacks are kept: at least as many as one result may have. */
struct calendars *calendars_new(struct zone_cache *zones, size_t most);
void calendars_free(struct calendars *calendars); /* NULL is fine */

/* The stack of the calendar `name`: names and definitions of itself, its base, that one's base … */
void calendars_put(struct calendars *calendars, const char *name, char *const *names,
                   char *const *definitions, size_t count);

/* Borrowed; NULL with an error where its stack cannot be evaluated or was never put. */
struct calendar *calendars_get(struct calendars *calendars, const char *name,
                               struct rota_error *error);

#endif
