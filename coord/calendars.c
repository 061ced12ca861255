/* Evaluated calendars by name: see calendars.h. */
#include "coord/calendars.h"

#include "base/memory.h"
#include "base/table.h"
#include "coord/manifest_calendar.h"

#include <stdlib.h>
#include <string.h>

struct kept {
    char *name;
    struct buffer texts; /* of its stack: as long as they are the same, so is the calendar */
    struct calendar *calendar;
    char *error; /* why there is none */
    UT_hash_handle hh;
};

struct calendars {
    struct zone_cache *zones;
    size_t most;
    struct kept *kept; /* what was put last is last */
};

struct calendars *calendars_new(struct zone_cache *zones, size_t most)
{
    struct calendars *calendars = mem_alloc(sizeof *calendars);
    calendars->zones = zones;
    calendars->most = most;
    return calendars;
}

static void drop(struct calendars *calendars, struct kept *kept)
{
    HASH_DEL(calendars->kept, kept);
    calendar_unref(kept->calendar);
    buffer_free(&kept->texts);
    free(kept->error);
    free(kept->name);
    free(kept);
}

void calendars_free(struct calendars *calendars)
{
    if (calendars == NULL)
        return;
    struct kept *kept, *next;
    HASH_ITER (hh, calendars->kept, kept, next)
        drop(calendars, kept);
    free(calendars);
}

static struct kept *find(struct calendars *calendars, const char *name)
{
    struct kept *kept;
    HASH_FIND_STR(calendars->kept, name, kept);
    return kept;
}

/* Written by hand, bases may lead in a circle; the database cuts it off beyond what is allowed. */
static bool is_circle(char *const *names, size_t count)
{
    for (size_t i = 1; i < count; i++)
        for (size_t k = 0; k < i; k++)
            if (strcmp(names[i], names[k]) == 0)
                return true;
    return false;
}

static struct calendar *evaluate(struct zone_cache *zones, char *const *names,
                                 char *const *definitions, size_t count, struct rota_error *error)
{
    struct calendar *calendar = NULL;
    if (is_circle(names, count)) {
        error_set(error, ERROR_REFUSED,
                  "calendar \"%s\" stands on itself, by its bases; take the base from one of them",
                  names[0]);
        return NULL;
    }
    for (size_t i = count; i > 0; i--) {
        struct calendar *base = calendar;
        calendar = manifest_calendar_parse(names[i - 1], definitions[i - 1], base, zones, error);
        calendar_unref(base);
        if (calendar == NULL)
            return NULL;
    }
    return calendar;
}

void calendars_put(struct calendars *calendars, const char *name, char *const *names,
                   char *const *definitions, size_t count)
{
    struct buffer texts = {0};
    struct rota_error error = {0};
    for (size_t i = 0; i < count; i++) {
        buffer_append(&texts, names[i], strlen(names[i]) + 1);
        buffer_append(&texts, definitions[i], strlen(definitions[i]) + 1);
    }
    struct kept *old = find(calendars, name);
    struct kept *kept = mem_alloc(sizeof *kept);
    kept->name = mem_string(name);
    if (old != NULL && old->calendar != NULL && old->texts.length == texts.length &&
        memcmp(old->texts.data, texts.data, texts.length) == 0)
        kept->calendar = calendar_ref(old->calendar);
    else if (count > 0)
        kept->calendar = evaluate(calendars->zones, names, definitions, count, &error);
    if (kept->calendar == NULL && count > 0)
        kept->error = mem_string(error.message);
    kept->texts = texts;
    if (old != NULL)
        drop(calendars, old);
    while (HASH_COUNT(calendars->kept) >= calendars->most)
        drop(calendars, calendars->kept);
    HASH_ADD_KEYPTR(hh, calendars->kept, kept->name, strlen(kept->name), kept);
}

struct calendar *calendars_get(struct calendars *calendars, const char *name,
                               struct rota_error *error)
{
    const struct kept *kept = find(calendars, name);
    if (kept != NULL && kept->calendar != NULL)
        return kept->calendar;
    error_set(error, ERROR_REFUSED, "%s",
              kept != NULL && kept->error != NULL ? kept->error : "there is no such calendar");
    return NULL;
}
