/*
 * Three clocks, one unit: microseconds.
 *   wall       CLOCK_REALTIME, since 1970-01-01 UTC: what people read; may step
 *   monotonic  CLOCK_MONOTONIC: how long something took, when a timer fires
 *   boot       CLOCK_BOOTTIME: how old a lease is (goes on while the machine is suspended)
 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>
#include <sys/time.h>

#define US_PER_MS     INT64_C(1000)
#define US_PER_SECOND INT64_C(1000000)

int64_t clock_wall_us(void);
int64_t clock_monotonic_us(void);
int64_t clock_boot_us(void);

/* For libevent timers; negative durations become 0. */
struct timeval clock_timeval(int64_t duration_us);

#endif
