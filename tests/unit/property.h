/*
 * Random cases, made smaller where they fail. A case is made of choices, numbers below a limit of
 * which smaller ones are the simpler ones; they are drawn from a seed and kept. Of a case that
 * fails choices are left out, made zero and made smaller again and again, as long as it fails; what
 * cannot be made simpler is shown. Knows nothing of what the choices mean.
 */
#ifndef TESTS_UNIT_PROPERTY_H
#define TESTS_UNIT_PROPERTY_H

#include "base/buffer.h"

#include <stdbool.h>
#include <stdint.h>

/* Prints the seed and begins anew with it: ROTA_TEST_SEED of the environment, or the default. */
unsigned random_seed(void);
/* How many times longer than by default: ROTA_TEST_ROUNDS of the environment, at least 1. */
int64_t random_rounds(void);

int64_t below(int64_t limit); /* a choice: 0 to limit - 1 */
bool one_in(int count);       /* true once in `count` times; false is simpler */
/* A choice that is `value` in a case that is new, and like all others when it is made simpler. */
int64_t chosen(int64_t limit, int64_t value);
/* Choices in between belong together: they are left out together, too. Parts may hold parts. */
void part_begin(void);
void part_end(void);

/* One case: draws what it needs. True if all is well; else tells in `why` what was drawn and what
 * is wrong. `number` counts cases; made simpler, a case keeps it. */
typedef bool (*property)(void *arg, int64_t number, struct buffer *why);

/* Tries cases 0 to cases - 1. False with the simplest case found in `why` where one fails. */
bool property_holds(property holds, void *arg, int64_t cases, struct buffer *why);

/* The same; a case that fails ends the test. */
void property_check(property holds, void *arg, int64_t cases);

#endif
