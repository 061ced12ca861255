/* Random cases and how they are made smaller: see property.h. */
#include "tests/unit/property.h"

#include "base/clock.h"
#include "base/memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <assert.h>
#include <cmocka.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define SEED_DEFAULT  20261120u
#define CHOICES_MAX   20000
#define PARTS_MAX     5000
#define DEPTH_MAX     10
#define TRIES_MAX     20000
#define SHRINK_MAX_US (30 * US_PER_SECOND)

struct part {
    int begin, end; /* choices [begin, end) */
};

struct choices {
    int64_t values[CHOICES_MAX];
    int count;
    struct part parts[PARTS_MAX];
    int part_count;
};

static uint64_t seed;
static uint64_t state;          /* of the generator */
static struct choices *drawn;   /* kept of the case that runs; NULL outside of one */
static const int64_t *replayed; /* what a case is made of again; NULL: it is new */
static int replayed_count;
static int open_parts[DEPTH_MAX];
static int depth;

unsigned random_seed(void)
{
    const char *given = getenv("ROTA_TEST_SEED");
    seed = given != NULL ? strtoul(given, NULL, 10) : SEED_DEFAULT;
    state = seed;
    print_message("# ROTA_TEST_SEED=%u\n", (unsigned)seed);
    return (unsigned)seed;
}

int64_t random_rounds(void)
{
    const char *given = getenv("ROTA_TEST_ROUNDS");
    int64_t rounds = given != NULL ? strtoll(given, NULL, 10) : 1;
    return rounds > 1 ? rounds : 1;
}

/* SplitMix64 (Steele, Lea, Flood 2014). */
static uint64_t random_bits(void)
{
    uint64_t bits = state += UINT64_C(0x9e3779b97f4a7c15);
    bits = (bits ^ bits >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    bits = (bits ^ bits >> 27) * UINT64_C(0x94d049bb133111eb);
    return bits ^ bits >> 31;
}

int64_t chosen(int64_t limit, int64_t value)
{
    assert_true(limit > 0);
    if (drawn == NULL)
        return value;
    assert_in_range(drawn->count, 0, CHOICES_MAX - 1);
    if (replayed != NULL)
        value = drawn->count < replayed_count ? replayed[drawn->count] : 0;
    value = value < limit ? value : limit - 1;
    drawn->values[drawn->count++] = value;
    return value;
}

int64_t below(int64_t limit)
{
    assert_true(limit > 0);
    return chosen(limit, (int64_t)(random_bits() % (uint64_t)limit));
}

bool one_in(int count)
{
    return below(count) == count - 1;
}

void part_begin(void)
{
    if (drawn == NULL)
        return;
    assert_in_range(depth, 0, DEPTH_MAX - 1);
    open_parts[depth++] = drawn->count;
}

void part_end(void)
{
    if (drawn == NULL)
        return;
    assert_in_range(drawn->part_count, 0, PARTS_MAX - 1);
    drawn->parts[drawn->part_count++] = (struct part){open_parts[--depth], drawn->count};
}

/* --- making it smaller ----------------------------------------------------------------------- */

struct shrink {
    property holds;
    void *arg;
    int64_t number;
    struct choices *best; /* the simplest that fails */
    struct choices *next; /* being tried */
    struct buffer *why;   /* of the best */
    int64_t tries;
    int64_t until_us;
};

static bool run_case(const struct shrink *shrink, struct choices *choices, struct buffer *why)
{
    choices->count = choices->part_count = depth = 0;
    drawn = choices;
    bool fine = shrink->holds(shrink->arg, shrink->number, why);
    drawn = NULL;
    /* A case that fails may leave parts open. */
    while (depth > 0 && choices->part_count < PARTS_MAX)
        choices->parts[choices->part_count++] = (struct part){open_parts[--depth], choices->count};
    return fine;
}

static bool simpler(const struct choices *a, const struct choices *b)
{
    if (a->count != b->count)
        return a->count < b->count;
    for (int i = 0; i < a->count; i++)
        if (a->values[i] != b->values[i])
            return a->values[i] < b->values[i];
    return false;
}

static bool spent(const struct shrink *shrink)
{
    return shrink->tries >= TRIES_MAX || clock_monotonic_us() > shrink->until_us;
}

/* Whether a case of these choices fails, too, and is simpler than the best: it is the best now. */
static bool try_choices(struct shrink *shrink, const int64_t *values, int count)
{
    struct buffer why = {0};
    if (spent(shrink))
        return false;
    shrink->tries++;
    replayed = values;
    replayed_count = count;
    bool better = !run_case(shrink, shrink->next, &why) && simpler(shrink->next, shrink->best);
    replayed = NULL;
    if (better) {
        struct choices *old = shrink->best;
        shrink->best = shrink->next;
        shrink->next = old;
        buffer_clear(shrink->why);
        buffer_append(shrink->why, buffer_text(&why), why.length);
    }
    buffer_free(&why);
    return better;
}

/* The best without these choices, or with zeros in their place. */
static bool try_without(struct shrink *shrink, int begin, int end, bool zeros)
{
    const struct choices *best = shrink->best;
    if (begin >= end || end > best->count)
        return false;
    int64_t *values = mem_array((size_t)best->count + 1, sizeof *values);
    memcpy(values, best->values, (size_t)best->count * sizeof *values);
    int count = best->count;
    if (zeros) {
        memset(values + begin, 0, (size_t)(end - begin) * sizeof *values);
    } else {
        memmove(values + begin, values + end, (size_t)(count - end) * sizeof *values);
        count -= end - begin;
    }
    bool better = try_choices(shrink, values, count);
    free(values);
    return better;
}

static bool shrink_parts(struct shrink *shrink)
{
    bool better = false;
    for (int i = shrink->best->part_count - 1; i >= 0; i--) {
        if (i >= shrink->best->part_count)
            continue; /* the best has fewer now */
        struct part part = shrink->best->parts[i];
        better |= try_without(shrink, part.begin, part.end, false) ||
                  try_without(shrink, part.begin, part.end, true);
    }
    for (int size = 8; size >= 1; size /= 2)
        for (int begin = shrink->best->count - size; begin >= 0; begin--)
            better |= try_without(shrink, begin, begin + size, false);
    return better;
}

static bool try_value(struct shrink *shrink, int place, int64_t value)
{
    const struct choices *best = shrink->best;
    int64_t *values = mem_array((size_t)best->count, sizeof *values);
    memcpy(values, best->values, (size_t)best->count * sizeof *values);
    values[place] = value;
    bool better = try_choices(shrink, values, best->count);
    free(values);
    return better;
}

/* By halving the distance: to the smallest where larger ones fail, too; else to some smaller one.
 */
static bool shrink_values(struct shrink *shrink)
{
    bool better = false;
    for (int place = 0; place < shrink->best->count; place++) {
        int64_t low = -1; /* does not fail, as far as is known */
        while (place < shrink->best->count && shrink->best->values[place] - low > 1) {
            int64_t value = low < 0 ? 0 : low + (shrink->best->values[place] - low) / 2;
            if (try_value(shrink, place, value))
                better = true;
            else
                low = value;
            if (spent(shrink))
                return better;
        }
    }
    return better;
}

static void shrink_case(struct shrink *shrink)
{
    shrink->until_us = clock_monotonic_us() + SHRINK_MAX_US;
    bool better = true;
    while (better && !spent(shrink)) {
        better = shrink_parts(shrink);
        better = shrink_values(shrink) || better;
    }
}

bool property_holds(property holds, void *arg, int64_t cases, struct buffer *why)
{
    struct shrink shrink = {.holds = holds,
                            .arg = arg,
                            .best = mem_alloc(sizeof *shrink.best),
                            .next = mem_alloc(sizeof *shrink.next),
                            .why = why};
    bool fine = true;
    for (; fine && shrink.number < cases; shrink.number += fine) {
        state = seed + (uint64_t)shrink.number * UINT64_C(0xd1342543de82ef95); /* each its own */
        fine = run_case(&shrink, shrink.best, why);
    }
    if (!fine) {
        int count = shrink.best->count;
        shrink_case(&shrink);
        buffer_format(why,
                      "\ncase %" PRId64 " of seed %" PRIu64 ", made smaller in %" PRId64
                      " tries from %d choices to %d",
                      shrink.number, seed, shrink.tries, count, shrink.best->count);
    }
    free(shrink.best);
    free(shrink.next);
    return fine;
}

void property_check(property holds, void *arg, int64_t cases)
{
    struct buffer why = {0};
    if (!property_holds(holds, arg, cases, &why))
        fail_msg("%s", buffer_text(&why));
    buffer_free(&why);
}
