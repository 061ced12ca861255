/*
 * IANA time zones, read from the system's zoneinfo files (TZif, RFC 9636) into a sorted table of
 * spans of constant offset. Pure arithmetic after zone_open(); good from the zone's first record up
 * to the end of the year 2200. A cache and its zones belong to one thread.
 */
#ifndef COORD_SCHEDULE_ZONE_H
#define COORD_SCHEDULE_ZONE_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ZONE_NAME_MAX  100  /* bytes; the longest name of today has 32 */
#define ZONE_LAST_YEAR 2200 /* later instants keep the last offset */
#define ZONE_BEGIN_S   (-(INT64_C(1) << 60))
#define ZONE_END_S     (INT64_C(1) << 60)
#define ZONE_OFFSET_MAX_S                                                                          \
    (26 * 3600) /* RFC 9636, section 3.2: offsets lie between -25 h and +26 h */

struct zone;
struct zone_cache;

/* A stretch of time with one offset: instants [start_s, end_s), local time = instant + offset_s. */
struct zone_span {
    int64_t start_s; /* ZONE_BEGIN_S in the first span */
    int64_t end_s;   /* ZONE_END_S in the last */
    int32_t offset_s;
};

/* What a schedule does where the clock is put forward, and where it is put back. */
enum zone_gap { ZONE_GAP_DEFAULT, ZONE_GAP_AFTER, ZONE_GAP_SKIP };
enum zone_overlap {
    ZONE_OVERLAP_DEFAULT,
    ZONE_OVERLAP_FIRST,
    ZONE_OVERLAP_SECOND,
    ZONE_OVERLAP_BOTH
};

/* "after", "skip"; "first", "second", "both". 0, or -1 with what would be right in error. */
int zone_gap_parse(const char *text, enum zone_gap *ret_gap, struct rota_error *error);
int zone_overlap_parse(const char *text, enum zone_overlap *ret_overlap, struct rota_error *error);

/* Reads each zone once. The directory is TZDIR of the environment if that is an absolute path, else
 * /usr/share/zoneinfo. A new cache sees zone data that were updated since. */
struct zone_cache *zone_cache_new(void);
void zone_cache_free(struct zone_cache *cache); /* zones that others hold live on */

/* A new reference, for zone_unref(). NULL name means UTC, which needs no file. NULL with an error
 * that suggests the nearest name where the zone is unknown, its name unsafe or its file damaged. */
struct zone *zone_open(struct zone_cache *cache, const char *name, struct rota_error *error);
struct zone *zone_ref(struct zone *zone);
void zone_unref(struct zone *zone); /* NULL is fine */

/* A zone from the bytes of a TZif file. Whatever the bytes are, the answer is a zone or an error.
 */
struct zone *zone_parse(const char *name, const void *bytes, size_t length,
                        struct rota_error *error);

const char *zone_name(const struct zone *zone);
bool zone_fixed(const struct zone *zone); /* has never changed its offset */
int32_t zone_offset(const struct zone *zone, int64_t instant_s);

/*
 * The instants with this local time (seconds since 1970-01-01 00:00 as that clock shows it):
 * 1, or 2 where it occurs twice, earlier first. 0 in a gap: ret_instants[0] is then the first
 * instant after the gap.
 */
int zone_instants(const struct zone *zone, int64_t local_s, int64_t ret_instants[2]);

/* The spans by number, for walking in either direction. */
size_t zone_find(const struct zone *zone, int64_t instant_s);
size_t zone_span_count(const struct zone *zone);
struct zone_span zone_span(const struct zone *zone, size_t index);

#endif
