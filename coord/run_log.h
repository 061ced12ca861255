/* The log line of each run that is over, or goes back, for nodes that are to write one. */
#ifndef COORD_RUN_LOG_H
#define COORD_RUN_LOG_H

struct node;
struct observation;
struct rota_error;

int run_log_observe(struct node *node, const struct observation *seen, struct rota_error *error);

#endif
