/* What this process has used up to now, from the kernel. */
#ifndef COORD_HTTP_PROCESS_USAGE_H
#define COORD_HTTP_PROCESS_USAGE_H

#include <stdint.h>

struct process_usage {
    int64_t cpu_us; /* of all threads, user and system */
    int64_t resident_bytes, virtual_bytes;
    int64_t descriptors, descriptors_max;
    int64_t started_cs; /* hundredths of a second since 1970 */
};

/* What cannot be read is 0. */
void process_usage(struct process_usage *ret_usage);

#endif
