/*
 * The seconds of a day as bits, so that what occurs and what is excluded are laid over each other
 * 64 at a time. Places count from the day's first second.
 */
#ifndef COORD_SCHEDULE_SECONDS_H
#define COORD_SCHEDULE_SECONDS_H

#include <stdint.h>

#define SECONDS_OF_DAY 86400

struct seconds {
    uint64_t words[SECONDS_OF_DAY / 64];
};

void seconds_clear(struct seconds *seconds);

/* Adds the bits from `place` on, which is at least 0; none may reach past the day. */
void seconds_add(struct seconds *seconds, int place, uint64_t bits);
/* The same with `count` words of bits. */
void seconds_add_words(struct seconds *seconds, int place, const uint64_t *words, int count);
void seconds_add_range(struct seconds *seconds, int from, int to); /* [from, to) */
/* Adds first, first + step, … below `to`. */
void seconds_add_every(struct seconds *seconds, int first, int step, int to);

void seconds_remove_one(struct seconds *seconds, int place);
void seconds_remove(struct seconds *seconds, const struct seconds *what);
void seconds_keep(struct seconds *seconds, int from, int to); /* only [from, to) */

int seconds_count(const struct seconds *seconds);
int seconds_next(const struct seconds *seconds,
                 int from);                      /* the first one from there on; -1: none */
int seconds_last(const struct seconds *seconds); /* -1: none */
/* The end of the run of seconds that begins with the one at `place`. */
int seconds_run_end(const struct seconds *seconds, int place);

#endif
