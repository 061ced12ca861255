/*
 * Zones by name: checks the name, reads the file once per cache, and answers what the local time is
 * and which instants a local time has. See zone.h; the file format is in zone_tzif.c.
 */
#include "base/memory.h"
#include "coord/schedule/zone_table.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ZONE_DIRECTORY     "/usr/share/zoneinfo"
#define ZONE_FILE_SIZE_MAX (256 * 1024) /* the largest of today has under 4 KiB */
#define ZONE_CACHE_MAX     4096         /* there are about 600 names, links included */

struct zone_cache {
    struct zone **zones; /* sorted by name */
    size_t count;
    size_t capacity;
    char *directory;
    struct zone_names names; /* for suggestions, read when first needed */
    /* The last name refused: a thousand triggers with the same typing error cost one search. */
    char refused_name[ZONE_NAME_MAX + 1];
    struct rota_error refused;
};

struct choice {
    const char *text;
    int value;
};

static int choice_parse(const char *text, const struct choice *choices, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(text, choices[i].text) == 0)
            return choices[i].value;
    return -1;
}

int zone_gap_parse(const char *text, enum zone_gap *ret_gap, struct rota_error *error)
{
    static const struct choice choices[] = {{"after", ZONE_GAP_AFTER}, {"skip", ZONE_GAP_SKIP}};
    int value = choice_parse(text, choices, 2);
    if (value < 0)
        return error_set(error, ERROR_REFUSED, "gap \"%.40s\": expected \"after\" or \"skip\"",
                         text);
    *ret_gap = (enum zone_gap)value;
    return 0;
}

int zone_overlap_parse(const char *text, enum zone_overlap *ret_overlap, struct rota_error *error)
{
    static const struct choice choices[] = {{"first", ZONE_OVERLAP_FIRST},
                                            {"second", ZONE_OVERLAP_SECOND},
                                            {"both", ZONE_OVERLAP_BOTH}};
    int value = choice_parse(text, choices, 3);
    if (value < 0)
        return error_set(error, ERROR_REFUSED,
                         "overlap \"%.40s\": expected \"first\", \"second\" or \"both\"", text);
    *ret_overlap = (enum zone_overlap)value;
    return 0;
}

struct zone *zone_table_new(const char *name)
{
    struct zone *zone = mem_alloc(sizeof *zone);
    zone->references = 1;
    snprintf(zone->name, sizeof zone->name, "%s", name);
    return zone;
}

void zone_table_append(struct zone *zone, int64_t start_s, int32_t offset_s)
{
    /* A change at the same instant replaces the one before: that span would be empty. */
    if (zone->count > 0 && zone->starts[zone->count - 1] == start_s)
        zone->count--;
    if (zone->count > 0 && zone->offsets[zone->count - 1] == offset_s)
        return;
    if (zone->count == zone->capacity) {
        zone->capacity = zone->capacity > 0 ? zone->capacity * 2 : 16;
        zone->starts = mem_resize(zone->starts, zone->capacity, sizeof *zone->starts);
        zone->offsets = mem_resize(zone->offsets, zone->capacity, sizeof *zone->offsets);
    }
    assert(zone->count > 0 ? zone->starts[zone->count - 1] < start_s : start_s == ZONE_BEGIN_S);
    zone->starts[zone->count] = start_s;
    zone->offsets[zone->count++] = offset_s;
}

struct zone *zone_ref(struct zone *zone)
{
    zone->references++;
    return zone;
}

void zone_unref(struct zone *zone)
{
    if (zone == NULL)
        return;
    assert(zone->references > 0);
    if (--zone->references > 0)
        return;
    free(zone->starts);
    free(zone->offsets);
    free(zone);
}

struct zone_cache *zone_cache_new(void)
{
    struct zone_cache *cache = mem_alloc(sizeof *cache);
    const char *directory = getenv("TZDIR");
    bool given = directory != NULL && directory[0] == '/';
    cache->directory = mem_string(given ? directory : ZONE_DIRECTORY);
    return cache;
}

void zone_cache_free(struct zone_cache *cache)
{
    if (cache == NULL)
        return;
    for (size_t i = 0; i < cache->count; i++)
        zone_unref(cache->zones[i]);
    zone_names_free(&cache->names);
    free(cache->zones);
    free(cache->directory);
    free(cache);
}

/* Names become paths, so only what a zone name can be is let through. */
static int check_name(const char *name, struct rota_error *error)
{
    size_t length = strnlen(name, ZONE_NAME_MAX + 1);
    if (length == 0)
        return error_set(error, ERROR_REFUSED,
                         "zone \"\": empty: expected a name such as Europe/Berlin or UTC");
    if (length > ZONE_NAME_MAX)
        return error_set(error, ERROR_REFUSED, "zone \"%.20s...\": longer than %d characters", name,
                         ZONE_NAME_MAX);
    for (const char *at = name; *at != '\0'; at++) {
        if (!isalnum((unsigned char)*at) && strchr("_+-/.", *at) == NULL)
            return error_set(error, ERROR_REFUSED,
                             "zone: character %zu of the name cannot be in one: expected letters, "
                             "digits, _ + - and /, as in America/New_York",
                             (size_t)(at - name) + 1);
        bool part_start = at == name || at[-1] == '/';
        if (part_start && (*at == '/' || *at == '.'))
            return error_set(error, ERROR_REFUSED,
                             "zone \"%s\": a part of the name begins with \"%c\": expected a name "
                             "such as Europe/Berlin",
                             name, *at);
    }
    return 0;
}

static int refuse_unknown(struct zone_cache *cache, const char *name, struct rota_error *error)
{
    if (cache->names.count == 0)
        zone_names_read(&cache->names, cache->directory);
    if (cache->names.count == 0)
        return error_set(error, ERROR_REFUSED,
                         "zone \"%s\": no zoneinfo in %s: install the system's time zone data or "
                         "set TZDIR",
                         name, cache->directory);
    const char *nearest = zone_names_nearest(&cache->names, name);
    if (nearest != NULL)
        return error_set(error, ERROR_REFUSED, "zone \"%s\" is unknown: did you mean \"%s\"?", name,
                         nearest);
    return error_set(error, ERROR_REFUSED,
                     "zone \"%s\" is unknown: expected an IANA name such as Europe/Berlin or UTC",
                     name);
}

/* The bytes of a regular file; -1 with errno set. O_NONBLOCK: opening a pipe must not hang. */
static int read_file(const char *path, struct buffer *ret_bytes)
{
    struct stat status;
    int result = -1;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return -1;
    if (fstat(fd, &status) != 0)
        goto done;
    if (!S_ISREG(status.st_mode)) {
        errno = ENOENT;
        goto done;
    }
    while (ret_bytes->length <= ZONE_FILE_SIZE_MAX) {
        char *room = buffer_reserve(ret_bytes, 8192);
        ssize_t count = read(fd, room, 8192);
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0)
            goto done;
        if (count == 0) {
            result = 0;
            goto done;
        }
        ret_bytes->length += (size_t)count;
    }
    errno = EFBIG;
done:
    close(fd);
    return result;
}

static struct zone *load(struct zone_cache *cache, const char *name, struct rota_error *error)
{
    struct zone *zone = NULL;
    struct buffer bytes = {0};
    char *path = mem_format("%s/%s", cache->directory, name);
    if (strcmp(name, "UTC") == 0) {
        zone = zone_table_new(name);
        zone_table_append(zone, ZONE_BEGIN_S, 0);
    } else if (read_file(path, &bytes) == 0) {
        zone = zone_parse(name, bytes.data, bytes.length, error);
    } else if (errno == ENOENT || errno == ENOTDIR) {
        refuse_unknown(cache, name, error);
    } else {
        error_set(error, ERROR_REFUSED, "zone \"%s\": %s: %s", name, path, strerror(errno));
    }
    buffer_free(&bytes);
    free(path);
    return zone;
}

/* Where the zone is or belongs. */
static size_t cache_place(const struct zone_cache *cache, const char *name, bool *ret_found)
{
    size_t low = 0, high = cache->count;
    *ret_found = false;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(cache->zones[middle]->name, name);
        if (order == 0) {
            *ret_found = true;
            return middle;
        }
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void cache_insert(struct zone_cache *cache, size_t place, struct zone *zone)
{
    if (cache->count == cache->capacity) {
        cache->capacity = cache->capacity > 0 ? cache->capacity * 2 : 16;
        cache->zones = mem_resize(cache->zones, cache->capacity, sizeof *cache->zones);
    }
    memmove(cache->zones + place + 1, cache->zones + place,
            (cache->count - place) * sizeof *cache->zones);
    cache->zones[place] = zone_ref(zone);
    cache->count++;
}

struct zone *zone_open(struct zone_cache *cache, const char *name, struct rota_error *error)
{
    bool found;
    if (name == NULL)
        name = "UTC";
    size_t place = cache_place(cache, name, &found);
    if (found)
        return zone_ref(cache->zones[place]);
    if (check_name(name, error) != 0)
        return NULL;
    if (strcmp(name, cache->refused_name) == 0) {
        if (error != NULL)
            *error = cache->refused;
        return NULL;
    }
    struct zone *zone = load(cache, name, &cache->refused);
    if (zone == NULL) {
        snprintf(cache->refused_name, sizeof cache->refused_name, "%s", name);
        if (error != NULL)
            *error = cache->refused;
    } else if (cache->count < ZONE_CACHE_MAX) {
        cache_insert(cache, place, zone);
    }
    return zone;
}

const char *zone_name(const struct zone *zone)
{
    return zone->name;
}

bool zone_fixed(const struct zone *zone)
{
    return zone->count == 1;
}

size_t zone_find(const struct zone *zone, int64_t instant_s)
{
    size_t low = 0, count = zone->count;
    /* The last span that does not start after the instant; the loop has no unpredictable branch. */
    while (count > 1) {
        size_t half = count / 2;
        low = zone->starts[low + half] <= instant_s ? low + half : low;
        count -= half;
    }
    return low;
}

size_t zone_span_count(const struct zone *zone)
{
    return zone->count;
}

struct zone_span zone_span(const struct zone *zone, size_t index)
{
    assert(index < zone->count);
    int64_t end_s = index + 1 < zone->count ? zone->starts[index + 1] : ZONE_END_S;
    return (struct zone_span){zone->starts[index], end_s, zone->offsets[index]};
}

int32_t zone_offset(const struct zone *zone, int64_t instant_s)
{
    return zone->offsets[zone_find(zone, instant_s)];
}

int zone_instants(const struct zone *zone, int64_t local_s, int64_t ret_instants[2])
{
    size_t at = zone_find(zone, local_s - ZONE_OFFSET_MAX_S);
    size_t last = zone_find(zone, local_s + ZONE_OFFSET_MAX_S);
    int count = 0;
    for (size_t i = at; i <= last && count < 2; i++) {
        struct zone_span span = zone_span(zone, i);
        int64_t instant_s = local_s - span.offset_s;
        if (instant_s >= span.start_s && instant_s < span.end_s)
            ret_instants[count++] = instant_s;
    }
    if (count > 0)
        return count;
    /* In a gap: the span whose clock begins after the wanted time is the one behind it. */
    while (at < last && zone->starts[at] + zone->offsets[at] <= local_s)
        at++;
    ret_instants[0] = zone->starts[at];
    return 0;
}
