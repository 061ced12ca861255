/* Ids of runs, as commands take them: one after the other, each once. */
#ifndef CMD_RUN_LIST_H
#define CMD_RUN_LIST_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

#define RUN_LIST_MAX 10000 /* beyond it, `--job` and `--failed` are meant */

struct run_list {
    int64_t *ids;
    size_t count;
};

/* Takes a word; one that is there already is passed over. 0 or -1 (ERROR_USAGE). */
int run_list_add(struct run_list *list, const char *word, struct rota_error *error);
void run_list_free(struct run_list *list);

#endif
