/*
 * Who is told of failures (`on_failure`) in an apply: that job is there when the apply is over, and
 * no chain of them leads back. Part of apply_plan.h; for the files of apply only.
 */
#ifndef COORD_APPLY_TOLD_H
#define COORD_APPLY_TOLD_H

#include "coord/apply_plan.h"

/* Reads what jobs of elsewhere tell, and whether those that are told are there. */
int plan_read_told(struct apply_plan *plan, struct store *store, struct rota_error *error);

/* Once jobs are compared; problems are the set's. */
void plan_check_told(struct apply_plan *plan);

/* Whether it is there and will not be; once jobs are compared (apply_plan.c). */
bool plan_job_goes(const struct apply_plan *plan, const char *name);

#endif
