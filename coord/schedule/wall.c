/*
 * Readings in a zone: see wall.h. Each span of constant offset shows a range of readings, which the
 * rules for gap and overlap widen or narrow; within it, instants and readings differ by a constant.
 */
#include "coord/schedule/wall.h"

#include <assert.h>

#define DAY_S WALL_DAY_S
/* An offset moves a local time by at most 26 hours; searches leave twice that. */
#define MARGIN_S (2 * ZONE_OFFSET_MAX_S)

/*
 * The readings [low, high) that occur in a span. A low before the span's own first reading means:
 * those of the gap before it, which occur at its start.
 */
struct window {
    struct zone_span span;
    int64_t low;
    int64_t high;
    bool repeats; /* the next span shows readings again that this one has shown */
};

static struct window window_of(const struct wall *wall, size_t at)
{
    struct window window = {.span = zone_span(wall->zone, at)};
    window.low = window.span.start_s + window.span.offset_s;
    window.high = window.span.end_s + window.span.offset_s;
    if (at > 0) {
        int64_t before = window.span.start_s + zone_span(wall->zone, at - 1).offset_s;
        bool gap = before < window.low;
        if (gap ? wall->gap == ZONE_GAP_AFTER : wall->overlap == ZONE_OVERLAP_FIRST)
            window.low = before;
    }
    if (at + 1 < zone_span_count(wall->zone)) {
        int64_t again = window.span.end_s + zone_span(wall->zone, at + 1).offset_s;
        window.repeats = again < window.high;
        if (window.repeats && wall->overlap == ZONE_OVERLAP_SECOND)
            window.high = again;
    }
    return window;
}

/* Narrows a window to the instants [from_s, to_s). */
static void cut(struct window *window, int64_t from_s, int64_t to_s)
{
    if (from_s > window->span.start_s && from_s + window->span.offset_s > window->low)
        window->low = from_s + window->span.offset_s;
    if (to_s + window->span.offset_s < window->high)
        window->high = to_s + window->span.offset_s;
}

/* Whether the window's start is an occurrence; the window is cut to what lies behind it. Whatever
 * matches in the gap is one occurrence with what matches at its end. */
static bool take_gap(const struct wall *wall, struct window *window)
{
    int64_t start = window->span.start_s + window->span.offset_s, low = window->low;
    if (low >= start)
        return false;
    window->low = start + 1;
    return wall->pattern->next(wall->of, low) <= start;
}

/* Instants far outside the years 1970 to 2199 are all the same to us, and overflow nothing. */
static int64_t clamp(int64_t instant_s)
{
    const int64_t low = -MARGIN_S, high = WALL_END_S + MARGIN_S;
    return instant_s < low ? low : instant_s > high ? high : instant_s;
}

int64_t wall_next(const struct wall *wall, int64_t after_s)
{
    int64_t from_s = clamp(after_s) + 1;
    size_t at = zone_find(wall->zone, from_s);
    for (;;) {
        struct window window = window_of(wall, at);
        cut(&window, from_s, ZONE_END_S);
        int64_t reading = wall->pattern->next(wall->of, window.low);
        if (reading < window.high) {
            int64_t instant_s = reading - window.span.offset_s;
            return instant_s > window.span.start_s ? instant_s : window.span.start_s;
        }
        if (at + 1 == zone_span_count(wall->zone) || (reading == WALL_NONE && !window.repeats))
            return WALL_NONE;
        /* No reading before this one matches: leap to where it may be shown, unless the next span
         * goes back. */
        size_t leap =
            window.repeats || reading == WALL_NONE ? 0 : zone_find(wall->zone, reading - MARGIN_S);
        at = leap > at ? leap : at + 1;
        from_s = zone_span(wall->zone, at).start_s;
    }
}

int64_t wall_count(const struct wall *wall, int64_t after_s, int64_t until_s)
{
    int64_t count = 0, from_s = clamp(after_s) + 1, to_s = clamp(until_s) + 1;
    if (from_s >= to_s)
        return 0;
    size_t last = zone_find(wall->zone, to_s - 1);
    for (size_t at = zone_find(wall->zone, from_s); at <= last; at++) {
        struct window window = window_of(wall, at);
        cut(&window, from_s, to_s);
        count += take_gap(wall, &window);
        if (window.low < window.high)
            count += wall->pattern->count(wall->of, window.low, window.high);
    }
    return count;
}

void wall_mark(const struct wall *wall, int64_t day, struct seconds *seconds)
{
    int64_t from_s = day * DAY_S, to_s = from_s + DAY_S;
    size_t last = zone_find(wall->zone, to_s - 1);
    for (size_t at = zone_find(wall->zone, from_s); at <= last; at++) {
        struct window window = window_of(wall, at);
        cut(&window, from_s, to_s);
        if (take_gap(wall, &window))
            seconds_add(seconds, (int)(window.span.start_s - from_s), 1);
        if (window.low < window.high)
            wall->pattern->mark(wall->of, window.low, window.high, from_s + window.span.offset_s,
                                seconds);
    }
}

bool wall_has(const struct wall *wall, int64_t instant_s)
{
    return wall->pattern->has(wall->of, instant_s + zone_offset(wall->zone, instant_s));
}

static int64_t day_of(int64_t reading)
{
    return reading / DAY_S - (reading % DAY_S < 0);
}

bool wall_key(const struct wall *wall, int64_t day, struct wall_key *ret_key)
{
    if (wall->pattern->day_class == NULL)
        return false;
    int64_t from_s = day * DAY_S;
    struct window window = window_of(wall, zone_find(wall->zone, from_s));
    int64_t low = from_s + window.span.offset_s, high = low + DAY_S;
    if (from_s == window.span.start_s || low < window.low || high > window.high)
        return false;
    int64_t first = day_of(low), last = day_of(high - 1);
    ret_key->offset_s = window.span.offset_s;
    ret_key->classes[0] = wall->pattern->day_class(wall->of, first);
    ret_key->classes[1] = last == first ? 0 : wall->pattern->day_class(wall->of, last);
    return true;
}

void wall_describe_clock_change(const struct wall *wall, struct buffer *text)
{
    static const char *const gap[] = {
        [ZONE_GAP_AFTER] = "fires right after the change", [ZONE_GAP_SKIP] = "does not fire"};
    static const char *const overlap[] = {[ZONE_OVERLAP_FIRST] = "fires the first time only",
                                          [ZONE_OVERLAP_SECOND] = "fires the second time only",
                                          [ZONE_OVERLAP_BOTH] = "fires both times"};
    assert(wall->gap != ZONE_GAP_DEFAULT && wall->overlap != ZONE_OVERLAP_DEFAULT);
    if (zone_fixed(wall->zone))
        return;
    buffer_format(text, "In %s a time the clock skips %s; one it shows twice %s.",
                  zone_name(wall->zone), gap[wall->gap], overlap[wall->overlap]);
}
