/* Calendars of a manifest: see manifest_calendar.h. Every entry is judged where it stands. */
#include "coord/manifest_calendar.h"

#include "base/instant.h"
#include "base/memory.h"
#include "coord/schedule/cron.h"
#include "coord/schedule/day_text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct calendar_reading {
    struct manifest_calendar calendar;
    const struct json_value *dates, *annual, *weekly, *daily, *cron;
};

#define CAL(field) offsetof(struct calendar_reading, field)

static const struct manifest_key calendar_keys[] = {
    {"name", KEY_NAME, CAL(calendar.name), 1, MANIFEST_NAME_MAX},
    {"description", KEY_TEXT, CAL(calendar.description), 0, MANIFEST_DESCRIPTION_MAX},
    {"dates", KEY_VALUE, CAL(dates)},
    {"annual", KEY_VALUE, CAL(annual)},
    {"weekly", KEY_VALUE, CAL(weekly)},
    {"daily", KEY_VALUE, CAL(daily)},
    {"cron", KEY_VALUE, CAL(cron)},
    {"timezone", KEY_NAME, CAL(calendar.timezone), 1, ZONE_NAME_MAX},
    {"base", KEY_NAME, CAL(calendar.base), 1, MANIFEST_NAME_MAX},
};

/* --- entries --------------------------------------------------------------------------------- */

/* What the entries of one list have in common while they are read. */
struct list {
    struct manifest_reader *reader;
    const char *what, *key;
    struct zone *utc;
    const char *seed;
};

/* Writes an entry in its one spelling. 0, or -1 with what would be right. */
typedef int (*entry_reader)(const struct list *list, const char *text, struct buffer *out,
                            struct rota_error *error);

static int read_date(const struct list *list, const char *text, struct buffer *out,
                     struct rota_error *error)
{
    int64_t day;
    (void)list;
    if (day_date_parse(text, &day, error) != 0)
        return -1;
    buffer_string(out, text); /* has one spelling only */
    return 0;
}

static int read_annual(const struct list *list, const char *text, struct buffer *out,
                       struct rota_error *error)
{
    int month, day;
    (void)list;
    if (day_of_year_parse(text, &month, &day, error) != 0)
        return -1;
    buffer_string(out, text);
    return 0;
}

static int read_cron(const struct list *list, const char *text, struct buffer *out,
                     struct rota_error *error)
{
    struct cron cron;
    if (cron_parse(&cron, text, list->utc, list->seed, error) != 0)
        return -1;
    buffer_string(out, text);
    return 0;
}

static int read_time(const char *text, char **ret_time, struct rota_error *error)
{
    int second;
    struct buffer out = {0};
    if (day_time_parse(text, &second, error) != 0)
        return -1;
    day_time_write(&out, second);
    buffer_text(&out);
    *ret_time = out.data;
    return 0;
}

/* --- lists ----------------------------------------------------------------------------------- */

static int compare_texts(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* In one order, none twice: neither has a meaning. */
static void settle_texts(struct manifest_texts *texts)
{
    size_t kept = 0;
    if (texts->count == 0)
        return;
    qsort(texts->items, texts->count, sizeof *texts->items, compare_texts);
    for (size_t i = 1; i < texts->count; i++) {
        if (strcmp(texts->items[kept], texts->items[i]) == 0)
            free(texts->items[i]);
        else
            texts->items[++kept] = texts->items[i];
    }
    texts->count = kept + 1;
}

/* The text of an entry; NULL with a problem where it is none. */
static char *entry_text(const struct list *list, const struct json_value *entry, const char *such)
{
    char shown[MANIFEST_WHAT_SIZE];
    char *text = entry->type == JSON_STRING ? json_text(entry) : NULL;
    if (text == NULL)
        manifest_problem(list->reader, entry, "%s: \"%s\" must hold %s, not %s", list->what,
                         list->key, such, manifest_shown(entry, shown));
    return text;
}

/* The first entry of a list; NULL with a problem where there are too many. */
static const struct json_value *entries(const struct list *list, const struct json_value *array,
                                        const char *of, size_t most)
{
    const struct json_value *first =
        manifest_elements(list->reader, array, list->what, list->key, of);
    if (first == NULL || array->count <= most)
        return first;
    manifest_problem(list->reader, array, "%s: \"%s\" has %u entries; at most %zu are allowed",
                     list->what, list->key, array->count, most);
    return NULL;
}

static void read_texts(struct list list, const char *key, const struct json_value *array,
                       const char *of, const char *such, size_t most, entry_reader read,
                       struct manifest_texts *ret_texts)
{
    struct rota_error error = {0};
    list.key = key;
    const struct json_value *at = entries(&list, array, of, most);
    struct manifest_texts texts = {
        .items = mem_array(at != NULL ? array->count : 0, sizeof *texts.items)};
    for (; at != NULL; at = json_next(&list.reader->json, at)) {
        struct buffer out = {0};
        char *text = entry_text(&list, at, such);
        if (text != NULL && read(&list, text, &out, &error) != 0) {
            manifest_problem(list.reader, at, "%s, %s: %s", list.what, key, error.message);
        } else if (text != NULL) {
            buffer_text(&out);
            texts.items[texts.count++] = out.data;
        }
        free(text);
    }
    settle_texts(&texts);
    *ret_texts = texts;
}

static void read_weekly(struct list list, const struct json_value *array, unsigned *ret_weekly)
{
    int weekday;
    struct rota_error error = {0};
    list.key = "weekly";
    const struct json_value *at = entries(&list, array, "weekdays", UINT32_MAX);
    for (; at != NULL; at = json_next(&list.reader->json, at)) {
        char *text = entry_text(&list, at, "weekdays such as \"SAT\"");
        if (text != NULL && day_weekday_parse(text, &weekday, &error) != 0)
            manifest_problem(list.reader, at, "%s, weekly: %s", list.what, error.message);
        else if (text != NULL)
            *ret_weekly |= 1u << weekday;
        free(text);
    }
}

static bool is_pair(const struct json *json, const struct json_value *entry)
{
    if (entry->type != JSON_ARRAY || entry->count != 2)
        return false;
    const struct json_value *from = json_first(json, entry);
    return from->type == JSON_STRING && json_next(json, from)->type == JSON_STRING;
}

/* One of "daily": ["12:00", "13:00"]. 0, or -1 with a problem. */
static int read_window(const struct list *list, const struct json_value *entry,
                       struct calendar_window *ret_window)
{
    struct rota_error error = {0};
    char shown[MANIFEST_WHAT_SIZE];
    char *times[2] = {NULL, NULL};
    if (!is_pair(&list->reader->json, entry)) {
        manifest_problem(list->reader, entry,
                         "%s: \"daily\" must hold pairs of times such as [\"12:00\", \"13:00\"], "
                         "not %s",
                         list->what, manifest_shown(entry, shown));
        return -1;
    }
    const struct json_value *at = json_first(&list->reader->json, entry);
    for (int i = 0; i < 2; i++, at = json_next(&list->reader->json, at)) {
        char *text = entry_text(list, at, "times of day");
        if (text != NULL && read_time(text, &times[i], &error) != 0)
            manifest_problem(list->reader, at, "%s, daily: %s", list->what, error.message);
        free(text);
    }
    *ret_window = (struct calendar_window){times[0], times[1]};
    return times[0] != NULL && times[1] != NULL ? 0 : -1;
}

static void free_window(struct calendar_window *window)
{
    free((char *)window->from);
    free((char *)window->to);
}

static int compare_windows(const void *a, const void *b)
{
    const struct calendar_window *left = a, *right = b;
    int order = strcmp(left->from, right->from);
    return order != 0 ? order : strcmp(left->to, right->to);
}

static void settle_windows(struct manifest_calendar *calendar)
{
    size_t kept = 0;
    if (calendar->daily_count == 0)
        return;
    qsort(calendar->daily, calendar->daily_count, sizeof *calendar->daily, compare_windows);
    for (size_t i = 1; i < calendar->daily_count; i++) {
        if (compare_windows(&calendar->daily[kept], &calendar->daily[i]) == 0)
            free_window(&calendar->daily[i]);
        else
            calendar->daily[++kept] = calendar->daily[i];
    }
    calendar->daily_count = kept + 1;
}

static void read_windows(struct list list, const struct json_value *array,
                         struct manifest_calendar *calendar)
{
    list.key = "daily";
    const struct json_value *at = entries(&list, array, "pairs of times", CALENDAR_WINDOW_MAX);
    calendar->daily = mem_array(at != NULL ? array->count : 0, sizeof *calendar->daily);
    for (; at != NULL; at = json_next(&list.reader->json, at)) {
        struct calendar_window window = {NULL, NULL};
        if (read_window(&list, at, &window) == 0)
            calendar->daily[calendar->daily_count++] = window;
        else
            free_window(&window);
    }
    settle_windows(calendar);
}

/* --- calendars ------------------------------------------------------------------------------- */

static void read_lists(struct list list, struct calendar_reading *reading)
{
    struct manifest_calendar *calendar = &reading->calendar;
    if (reading->dates != NULL)
        read_texts(list, "dates", reading->dates, "dates", "dates such as \"2026-12-25\"",
                   CALENDAR_DATES_MAX, read_date, &calendar->dates);
    if (reading->annual != NULL)
        read_texts(list, "annual", reading->annual, "days of the year", "days such as \"12-25\"",
                   CALENDAR_DATES_MAX, read_annual, &calendar->annual);
    if (reading->weekly != NULL)
        read_weekly(list, reading->weekly, &calendar->weekly);
    if (reading->daily != NULL)
        read_windows(list, reading->daily, calendar);
    if (reading->cron != NULL)
        read_texts(list, "cron", reading->cron, "cron expressions",
                   "cron expressions such as \"* * 0-6 * * ?\"", CALENDAR_CRON_MAX, read_cron,
                   &calendar->cron);
}

static void check_zone(struct manifest_reader *reader, const struct json_value *value,
                       const char *what, const char *name)
{
    struct rota_error error = {0};
    struct zone *zone = zone_open(reader->set->zones, name, &error);
    if (zone == NULL)
        manifest_problem(reader, value, "%s: %s", what, error.message);
    zone_unref(zone);
}

/* Everything but the name. What the entries cannot tell one by one is told by calendar_new(). */
static void read_object(struct manifest_reader *reader, const struct json_value *object,
                        const char *what, struct calendar_reading *reading)
{
    struct rota_error error = {0};
    struct manifest_calendar *calendar = &reading->calendar;
    size_t problems = reader->set->problems.count;
    manifest_read(reader, object, what, calendar_keys, MANIFEST_COUNT(calendar_keys), reading);
    struct zone *utc = zone_open(reader->set->zones, NULL, &error);
    read_lists((struct list){.reader = reader, .what = what, .utc = utc, .seed = calendar->name},
               reading);
    zone_unref(utc);
    if (calendar->timezone != NULL)
        check_zone(reader, json_get(&reader->json, object, "timezone"), what, calendar->timezone);
    if (calendar->base != NULL)
        calendar->base_offset = manifest_offset(reader, json_get(&reader->json, object, "base"));
    if (manifest_full(reader) || reader->set->problems.count > problems)
        return;
    struct calendar *made = manifest_calendar_new(calendar, NULL, reader->set->zones, &error);
    if (made == NULL)
        manifest_problem(reader, object, "%s: %s", what, error.message);
    calendar_unref(made);
}

void manifest_read_calendars(struct manifest_reader *reader, const struct json_value *array)
{
    struct manifest *manifest = reader->manifest;
    const struct json_value *at =
        manifest_elements(reader, array, "manifest", "calendars", "objects");
    manifest->calendars = mem_array(at != NULL ? array->count : 0, sizeof *manifest->calendars);
    for (; at != NULL; at = json_next(&reader->json, at)) {
        char what[MANIFEST_WHAT_SIZE];
        struct calendar_reading reading = {.calendar.offset = manifest_offset(reader, at)};
        manifest_title(reader, at, "calendar", manifest->calendar_count + 1, what);
        if (manifest_is_object(reader, at, what)) {
            read_object(reader, at, what, &reading);
            manifest_want(reader, at, what, "name", "add one: it is unique in the fleet");
        }
        manifest->calendars[manifest->calendar_count++] = reading.calendar;
    }
}

struct calendar *manifest_calendar_new(const struct manifest_calendar *calendar,
                                       struct calendar *base, struct zone_cache *zones,
                                       struct rota_error *error)
{
    const char *weekly[7];
    size_t weekly_count = 0;
    for (unsigned i = 0; manifest_weekdays[i] != NULL; i++)
        if (calendar->weekly >> (i + 1) % 7 & 1)
            weekly[weekly_count++] = manifest_weekdays[i];
    struct calendar_spec spec = {
        .name = calendar->name,
        .timezone = calendar->timezone,
        .dates = (const char *const *)calendar->dates.items,
        .date_count = calendar->dates.count,
        .annual = (const char *const *)calendar->annual.items,
        .annual_count = calendar->annual.count,
        .weekly = weekly,
        .weekly_count = weekly_count,
        .daily = calendar->daily,
        .daily_count = calendar->daily_count,
        .cron = (const char *const *)calendar->cron.items,
        .cron_count = calendar->cron.count,
        .base = base,
    };
    return calendar_new(&spec, zones, error);
}

/* The first problem of a set without its place: nobody has the text it is a place of. */
static void take_problem(struct manifest_set *set, struct rota_error *error)
{
    const char *line = set->problems.lines[0], *text = strstr(line, ": ");
    error_set(error, ERROR_REFUSED, "%s", text != NULL ? text + 2 : line);
    for (size_t i = 0; i < set->problems.count && i < MANIFEST_PROBLEMS_MAX; i++)
        free(set->problems.lines[i]);
}

struct calendar *manifest_calendar_parse(const char *name, const char *definition,
                                         struct calendar *base, struct zone_cache *zones,
                                         struct rota_error *error)
{
    char *what = mem_format("calendar \"%s\"", name);
    char file[] = "", *text = mem_string(definition);
    struct manifest_set set = {.zones = zones};
    struct manifest manifest = {.file = file, .text = text, .length = strlen(text)};
    struct manifest_reader reader = {.set = &set, .manifest = &manifest};
    struct calendar_reading reading = {0};
    struct calendar *made = NULL;
    if (json_parse(&reader.json, text, manifest.length, error) != 0) {
        error_prefix(error, "%s: its definition is no JSON", what);
        goto done;
    }
    reading.calendar.name = mem_string(name);
    if (manifest_is_object(&reader, &reader.json.values[0], what))
        read_object(&reader, &reader.json.values[0], what, &reading);
    if (set.problems.count > 0) {
        take_problem(&set, error);
        goto done;
    }
    made = manifest_calendar_new(&reading.calendar, base, zones, error);
    if (made == NULL)
        error_prefix(error, "%s", what);
done:
    manifest_calendar_free(&reading.calendar);
    json_free(&reader.json);
    free(text);
    free(what);
    return made;
}

static void free_texts(struct manifest_texts *texts)
{
    for (size_t i = 0; i < texts->count; i++)
        free(texts->items[i]);
    free(texts->items);
}

void manifest_calendar_free(struct manifest_calendar *calendar)
{
    free(calendar->name);
    free(calendar->description);
    free(calendar->timezone);
    free(calendar->base);
    free(calendar->definition);
    free_texts(&calendar->dates);
    free_texts(&calendar->annual);
    free_texts(&calendar->cron);
    for (size_t i = 0; i < calendar->daily_count; i++)
        free_window(&calendar->daily[i]);
    free(calendar->daily);
}
