/*
 * A schedule in words: what its kind says, then the clock changes of its zone, its limits, and that
 * there is a calendar. For people who read one line in a list.
 */
#include "base/clock.h"
#include "base/instant.h"
#include "coord/schedule/schedule_kind.h"

static void write_instant(struct buffer *text, int64_t instant_us)
{
    char shown[TIME_TEXT_SIZE];
    buffer_string(text, instant_format(instant_us, shown));
}

void schedule_describe_cron(const struct schedule *schedule, struct buffer *text)
{
    cron_describe(&schedule->cron, text);
}

void schedule_describe_every(const struct schedule *schedule, struct buffer *text)
{
    char period[TIME_TEXT_SIZE];
    buffer_format(text, "Every %s, counted from ",
                  duration_format(schedule->every.period_us, period));
    write_instant(text, schedule->every.first_us);
    buffer_char(text, '.');
}

void schedule_describe_at(const struct schedule *schedule, struct buffer *text)
{
    buffer_string(text, "Once, at ");
    write_instant(text, schedule->at_us);
    buffer_char(text, '.');
}

void schedule_describe_interval(const struct schedule *schedule, struct buffer *text)
{
    interval_describe(&schedule->interval, text);
    buffer_string(text, " Counted from ");
    if (schedule->kind->follows_clock) {
        int64_t year, day = schedule->interval.anchor / WALL_DAY_S;
        int month, in_month;
        civil_from_days(day - (schedule->interval.anchor % WALL_DAY_S < 0), &year, &month,
                        &in_month);
        buffer_format(text, "%04lld-%02d-%02d.", (long long)year, month, in_month);
    } else {
        write_instant(text, schedule->every.first_us);
        buffer_char(text, '.');
    }
}

void schedule_describe_daily(const struct schedule *schedule, struct buffer *text)
{
    daily_describe(&schedule->daily, text);
}

void schedule_describe(const struct schedule *schedule, struct buffer *text)
{
    schedule->kind->describe(schedule, text);
    if (schedule->kind->follows_clock && !zone_fixed(schedule->zone)) {
        buffer_char(text, ' ');
        wall_describe_clock_change(&schedule->wall, text);
    } else if (schedule->kind->follows_clock) {
        buffer_format(text, " In %s.", zone_name(schedule->zone));
    }
    if (schedule->repeat >= 0)
        buffer_format(text, " %lld time%s in all.", (long long)schedule->repeat + 1,
                      schedule->repeat == 0 ? "" : "s");
    if (schedule->start_us > SCHEDULE_BEGIN_US) {
        buffer_string(text, " Not before ");
        write_instant(text, schedule->start_us);
        buffer_char(text, '.');
    }
    if (schedule->repeat < 0 && schedule->end_us < SCHEDULE_END_US) {
        buffer_string(text, " Not after ");
        write_instant(text, schedule->end_us);
        buffer_char(text, '.');
    }
    if (schedule->calendar != NULL)
        buffer_string(text, " Not while its calendar excludes it.");
}
