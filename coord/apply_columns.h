/* Lists of structs as parameters of a statement, an array for each column. For the files of apply.
 */
#ifndef COORD_APPLY_COLUMNS_H
#define COORD_APPLY_COLUMNS_H

#include "store/store.h"

/*
 * One value of each element of a list, as the parameter of a statement. `get` fills the element's
 * value; the arrays live until the parameter is made.
 */
struct columns {
    struct store_params params;
    const void *const *rows;
    size_t count;
};

typedef const char *(*text_of)(const void *row);
typedef int64_t (*number_of)(const void *row);
typedef struct slice (*slice_of_row)(const void *row);

void columns_texts(struct columns *columns, text_of get);
/* MANIFEST_UNSET is NULL. */
void columns_int64s(struct columns *columns, number_of get);
void columns_int32s(struct columns *columns, number_of get);
void columns_times(struct columns *columns, number_of get);
void columns_bools(struct columns *columns, number_of get); /* 0 is false */
void columns_json(struct columns *columns, slice_of_row get);

/* Runs the statement within the open transaction, and frees the parameters. */
int columns_run(struct columns *columns, struct store *store, enum statement_id statement,
                struct rota_error *error);

#endif
