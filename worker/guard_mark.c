/* The mark of a worker's descendants: see guard_mark.h. */
#include "worker/guard_mark.h"

#include "worker/tree.h"

#include "base/text.h"

#include <stdio.h>
#include <string.h>

void guard_mark_write(char mark[GUARD_MARK_SIZE], pid_t guard, uint32_t number)
{
    snprintf(mark, GUARD_MARK_SIZE, GUARD_MARK "=%d-%u", (int)guard, number);
}

int guard_mark_read(pid_t process, pid_t guard, uint32_t *ret_number)
{
    char value[GUARD_MARK_SIZE];
    int64_t pid, number;
    int found = tree_variable(process, GUARD_MARK, value, sizeof value);
    if (found != 1)
        return found;
    const char *dash = strchr(value, '-');
    if (dash == NULL || text_int64(value, (size_t)(dash - value), &pid) != 0 || pid != guard ||
        text_int64(dash + 1, strlen(dash + 1), &number) != 0)
        return 0; /* another node's, further up */
    *ret_number = (uint32_t)number;
    return 1;
}
