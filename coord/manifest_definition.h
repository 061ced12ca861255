/*
 * The canonical form of a job's or trigger's definition, which is stored beside it: equal texts
 * mean that nothing has changed; what is different is told by key.
 */
#ifndef COORD_MANIFEST_DEFINITION_H
#define COORD_MANIFEST_DEFINITION_H

#include "coord/manifest.h"

/* Set `definition`. Only what differs from its default is in it, in one order. */
void manifest_define_job(struct manifest_job *job);
void manifest_define_trigger(struct manifest_trigger *trigger, const char *job_name);

/* "MON,FRI" of a bitmap whose bit 0 is Sunday; to be freed. */
char *manifest_days(unsigned days, const char *between);

/* A key that is not the same in two definitions; raw JSON, NULL where it has its default. */
struct manifest_difference {
    char *key;
    char *before;
    char *after;
};

struct manifest_differences {
    struct manifest_difference *items;
    size_t count;
};

void manifest_compare(struct manifest_differences *ret_differences, const char *before,
                      const char *after);
bool manifest_differs(const struct manifest_differences *differences, const char *const *keys);
void manifest_differences_free(struct manifest_differences *differences);

#endif
