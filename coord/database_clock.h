/*
 * What time it is for the database, as far as its answers tell: each says what its clock showed at
 * some moment between our question and its answer. All of them together bound how far that clock is
 * ahead of ours, far closer than one alone.
 */
#ifndef COORD_DATABASE_CLOCK_H
#define COORD_DATABASE_CLOCK_H

#include <stdint.h>

/* Database wall clock minus our boot clock, in microseconds. Zero: nothing is known yet. */
struct database_clock {
    int64_t least_us; /* it is at least this much ahead, */
    int64_t most_us;  /* and at most this */
    int64_t heard_us; /* boot clock of the newest answer; 0: none */
};

/*
 * The database said database_us between sent_us and received_us of the boot clock. Returns by how
 * much one of the clocks must have jumped, as no drift explains the answer; 0: it agrees.
 */
int64_t database_clock_hear(struct database_clock *clock, int64_t database_us, int64_t sent_us,
                            int64_t received_us);

/*
 * The time there at our boot time now_us: never later than it is. What it calls due is due there,
 * too, by the time a question arrives.
 */
int64_t database_clock_at(const struct database_clock *clock, int64_t now_us);

#endif
