/* Ids of runs as arguments: see run_list.h. */
#include "cmd/run_list.h"

#include "base/memory.h"
#include "base/text.h"

#include <stdlib.h>
#include <string.h>

int run_list_add(struct run_list *list, const char *word, struct rota_error *error)
{
    int64_t run;
    if (text_int64(word, strlen(word), &run) != 0 || run < 1)
        return error_set(error, ERROR_USAGE,
                         "runs are named by their id, a number such as 17, not \"%s\"", word);
    for (size_t i = 0; i < list->count; i++)
        if (list->ids[i] == run)
            return 0;
    if (list->count == RUN_LIST_MAX)
        return error_set(error, ERROR_USAGE, "at most %d runs are taken at once", RUN_LIST_MAX);
    list->ids = mem_resize(list->ids, list->count + 1, sizeof run);
    list->ids[list->count++] = run;
    return 0;
}

void run_list_free(struct run_list *list)
{
    free(list->ids);
    *list = (struct run_list){0};
}
