/* The audit: see audit.h. */
#include "coord/audit.h"

#include "base/memory.h"
#include "store/store.h"

#include <stdlib.h>

int audit_begin(struct audit *audit, int flags, struct rota_error *error)
{
    struct store_params params = {0};
    PGresult *result;
    params_text(&params, audit->noun);
    params_text(&params, audit->name);
    int failed = store_wait(audit->store, SQL_AUDIT_STATE, &params, flags, &result, error);
    store_params_free(&params);
    if (failed != 0)
        return -1;
    audit_free(audit);
    audit->before = mem_string(row_text(result, 0, 0));
    PQclear(result);
    return 0;
}

int audit_end(struct audit *audit, int flags, struct rota_error *error)
{
    struct store_params params = {0};
    params_text(&params, audit->who);
    params_text(&params, audit->address);
    params_text(&params, audit->node);
    params_text(&params, audit->action);
    params_text(&params, audit->noun);
    params_text(&params, audit->name);
    params_slice(&params, audit->request);
    params_slice(&params, audit->answer != NULL && audit->answer->length > 0
                              ? (struct slice){audit->answer->data, audit->answer->length}
                              : SLICE_NONE);
    params_text(&params, audit->before);
    int failed = store_wait(audit->store, SQL_AUDIT_ADD, &params, flags, NULL, error);
    store_params_free(&params);
    return failed;
}

void audit_free(struct audit *audit)
{
    free(audit->before);
    audit->before = NULL;
}
