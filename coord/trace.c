/* Trace context: see trace.h. */
#include "coord/trace.h"

#include <string.h>

#define DIGITS "0123456789abcdef" /* upper-case ones are not allowed by the recommendation */

int trace_id(const char *traceparent, char ret_id[TRACE_ID_SIZE])
{
    const char *at = traceparent != NULL ? strchr(traceparent, '-') : NULL;
    ret_id[0] = '\0';
    if (at == NULL || strspn(at + 1, DIGITS) != TRACE_ID_SIZE - 1)
        return -1;
    memcpy(ret_id, at + 1, TRACE_ID_SIZE - 1);
    ret_id[TRACE_ID_SIZE - 1] = '\0';
    return 0;
}
