/* What an SQLSTATE asks of us: try again, or tell somebody. */
#include "store/store.h"

#include <string.h>

enum store_fault store_fault(const struct rota_error *error)
{
    static const char *const retried[] = {"08", "40", "53", "57014", "57P", "55P03", "25006"};
    for (size_t i = 0; i < sizeof retried / sizeof *retried; i++)
        if (strncmp(error->sqlstate, retried[i], strlen(retried[i])) == 0)
            return FAULT_RETRY;
    return FAULT_REFUSED;
}

bool store_is(const struct rota_error *error, const char *sqlstate)
{
    return strcmp(error->sqlstate, sqlstate) == 0;
}
