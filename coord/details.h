/* task_details and attempt entries as JSON text: what the history says about a run besides its
 * columns. */
#ifndef COORD_DETAILS_H
#define COORD_DETAILS_H

#include "coord/run.h"
#include "worker/worker.h"

#define DETAILS_STRING_MAX 250 /* characters of a text of a failure */
#define DETAILS_LIST_MAX   50  /* items of a list of a failure */
#define DETAILS_JSON_MAX                                                                           \
    32768 /* bytes of a worker's details, data or stack trace; more is left out */

/* To be freed; NULL: nothing to tell. */
char *details_success(const struct worker_result *result, const struct run *run);
char *details_failure(const struct worker_result *result, const struct run *run, const char *status,
                      const char *exception, const char *message);
/* One entry of task_details.attempts. */
char *details_entry(const struct run *run, const char *node, const char *outcome,
                    const char *message);

/* The one line of details that tells most: a failure's message, else the output's first line. To be
 * freed; NULL: there is none. */
char *details_headline(const char *details);

#endif
