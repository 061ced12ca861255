/* Clocks in microseconds: see clock.h. */
#include "base/clock.h"

#include <time.h>

static int64_t clock_read(clockid_t id)
{
    struct timespec now;
    clock_gettime(id, &now);
    return now.tv_sec * US_PER_SECOND + now.tv_nsec / 1000;
}

int64_t clock_wall_us(void)
{
    return clock_read(CLOCK_REALTIME);
}

int64_t clock_monotonic_us(void)
{
    return clock_read(CLOCK_MONOTONIC);
}

int64_t clock_boot_us(void)
{
    return clock_read(CLOCK_BOOTTIME);
}

struct timeval clock_timeval(int64_t duration_us)
{
    if (duration_us < 0)
        duration_us = 0;
    return (struct timeval){.tv_sec = duration_us / US_PER_SECOND,
                            .tv_usec = duration_us % US_PER_SECOND};
}
