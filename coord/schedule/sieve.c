/*
 * What a calendar leaves of a schedule: see sieve.h. A day's outcome is kept under the keys of all
 * walls that had a part in it. 84,000 days, each a lookup, bound a search that finds nothing.
 */
#include "coord/schedule/sieve.h"

#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

#define DAY_S WALL_DAY_S
/* Outcomes kept during one search. The weekdays, holidays and phases of an ordinary combination
 * make a handful of kinds of days; what was displaced is worked out again. */
#define OUTCOMES 1024
#define FEW_DAYS 4 /* a search of so many needs none */
#define FEW                                                                                        \
    16 /* occurrences of a day that are sooner asked for than all seconds laid over them           \
        */

#define WALLS_MAX (1 + SIEVE_EXCLUDING_MAX)

/* A day's walls: [0] what occurs, then what excludes. */
struct keys {
    struct wall_key of[WALLS_MAX];
    bool known; /* the day is like others */
};

struct outcome {
    struct keys keys;
    int64_t count;
};

struct search {
    const struct sieve *sieve;
    struct seconds left;
    struct seconds gone; /* of the last day that was laid */
    struct keys gone_keys;
    int days;                 /* that were asked for */
    struct outcome *outcomes; /* NULL: not yet worth it */
};

/* Part of a search: [from, to) seconds of a day in UTC. */
struct part {
    int64_t day;
    int from;
    int to;
};

static struct part part_of_day(int64_t day, int64_t from_s, int64_t to_s)
{
    int64_t midnight = day * DAY_S;
    return (struct part){.day = day,
                         .from = from_s > midnight ? (int)(from_s - midnight) : 0,
                         .to = to_s < midnight + DAY_S ? (int)(to_s - midnight) : DAY_S};
}

static const struct wall *wall_at(const struct sieve *sieve, int i)
{
    return i == 0 ? &sieve->occurring : &sieve->excluding[i - 1];
}

static struct keys keys_of(const struct sieve *sieve, int64_t day)
{
    struct keys keys = {.known = true};
    for (int i = 0; i <= sieve->excluding_count && keys.known; i++)
        keys.known = wall_key(wall_at(sieve, i), day, &keys.of[i]);
    return keys;
}

/* Whether two days are alike in the walls from `first` on. */
static bool alike(const struct sieve *sieve, const struct keys *a, const struct keys *b, int first)
{
    size_t count = (size_t)(sieve->excluding_count + 1 - first);
    return a->known && b->known && memcmp(&a->of[first], &b->of[first], count * sizeof *a->of) == 0;
}

/* Asks for each occurrence of a day whether it is excluded. */
static void remove_one_by_one(struct search *search, int64_t day)
{
    const struct sieve *sieve = search->sieve;
    for (int at = seconds_next(&search->left, 0); at >= 0; at = seconds_next(&search->left, at + 1))
        for (int i = 0; i < sieve->excluding_count; i++)
            if (wall_has(&sieve->excluding[i], day * DAY_S + at)) {
                seconds_remove_one(&search->left, at);
                break;
            }
}

/* Leaves in search->left what is left of that part of a day. */
static void lay(struct search *search, struct part part, const struct keys *keys)
{
    const struct sieve *sieve = search->sieve;
    seconds_clear(&search->left);
    wall_mark(&sieve->occurring, part.day, &search->left);
    seconds_keep(&search->left, part.from, part.to);
    if (seconds_count(&search->left) <= FEW) {
        remove_one_by_one(search, part.day);
        return;
    }
    if (!alike(sieve, &search->gone_keys, keys, 1)) {
        seconds_clear(&search->gone);
        for (int i = 0; i < sieve->excluding_count; i++)
            wall_mark(&sieve->excluding[i], part.day, &search->gone);
        search->gone_keys = *keys;
    }
    seconds_remove(&search->left, &search->gone);
}

/* How many occurrences the seconds in search->left hold. */
static int64_t measure(const struct search *search, int64_t day)
{
    const struct wall *wall = &search->sieve->occurring;
    int64_t count = 0;
    if (!wall->pattern->many)
        return seconds_count(&search->left);
    for (int from = seconds_next(&search->left, 0), to; from >= 0 && from < DAY_S;
         from = to < DAY_S ? seconds_next(&search->left, to) : -1) {
        to = seconds_run_end(&search->left, from);
        count += wall->pattern->count(wall->of, day * DAY_S + from, day * DAY_S + to);
    }
    return count;
}

static uint64_t mix(uint64_t hash, uint64_t word)
{
    hash = (hash ^ word) * UINT64_C(0x9e3779b97f4a7c15);
    return hash ^ hash >> 29;
}

/* Where the outcome of such a day is or belongs; NULL: nowhere. */
static struct outcome *find_outcome(struct search *search, const struct keys *keys)
{
    uint64_t hash = 0;
    if (!keys->known || ++search->days <= FEW_DAYS)
        return NULL;
    if (search->outcomes == NULL)
        search->outcomes = mem_array(OUTCOMES, sizeof *search->outcomes);
    for (int i = 0; i <= search->sieve->excluding_count; i++) {
        hash = mix(hash, (uint64_t)keys->of[i].offset_s);
        hash = mix(hash, keys->of[i].classes[0]);
        hash = mix(hash, keys->of[i].classes[1]);
    }
    return &search->outcomes[hash % OUTCOMES];
}

/* How many occurrences of that part of a day are left; they are in search->left, unless another day
 * of the search was like this one. */
static int64_t count_part(struct search *search, struct part part)
{
    struct keys keys = keys_of(search->sieve, part.day);
    bool whole = part.from == 0 && part.to == DAY_S;
    struct outcome *outcome = whole ? find_outcome(search, &keys) : NULL;
    if (outcome != NULL && alike(search->sieve, &outcome->keys, &keys, 0))
        return outcome->count;
    lay(search, part, &keys);
    int64_t count = measure(search, part.day);
    if (outcome != NULL)
        *outcome = (struct outcome){keys, count};
    return count;
}

/* Cuts a stretch to the years there are; false if nothing is left. */
static bool cut(int64_t *from_s, int64_t *to_s)
{
    if (*from_s < 0)
        *from_s = 0;
    if (*to_s > WALL_END_S)
        *to_s = WALL_END_S;
    return *from_s < *to_s;
}

int64_t sieve_first(const struct sieve *sieve, int64_t from_s, int64_t to_s)
{
    struct search search = {.sieve = sieve};
    int64_t found_s = WALL_NONE;
    if (!cut(&from_s, &to_s))
        return WALL_NONE;
    for (int64_t day = from_s / DAY_S; day * DAY_S < to_s && found_s == WALL_NONE; day++) {
        struct part part = part_of_day(day, from_s, to_s);
        if (count_part(&search, part) > 0) /* the first such day, so that it was laid */
            found_s = day * DAY_S + seconds_next(&search.left, 0);
    }
    free(search.outcomes);
    return found_s;
}

int64_t sieve_last(const struct sieve *sieve, int64_t from_s, int64_t to_s)
{
    struct search search = {.sieve = sieve};
    int64_t found_s = WALL_NONE;
    if (!cut(&from_s, &to_s))
        return WALL_NONE;
    for (int64_t day = (to_s - 1) / DAY_S; (day + 1) * DAY_S > from_s && found_s == WALL_NONE;
         day--) {
        struct part part = part_of_day(day, from_s, to_s);
        if (count_part(&search, part) > 0) /* the first such day, so that it was laid */
            found_s = day * DAY_S + seconds_last(&search.left);
    }
    free(search.outcomes);
    return found_s;
}

int64_t sieve_count(const struct sieve *sieve, int64_t from_s, int64_t to_s)
{
    struct search search = {.sieve = sieve};
    int64_t count = 0;
    if (!cut(&from_s, &to_s))
        return 0;
    for (int64_t day = from_s / DAY_S; day * DAY_S < to_s; day++)
        count += count_part(&search, part_of_day(day, from_s, to_s));
    free(search.outcomes);
    return count;
}
