/* The cluster locks of a node: its workers ask for them, its session holds them. */
#ifndef COORD_NODE_LOCK_H
#define COORD_NODE_LOCK_H

#include <stdint.h>

struct node;
struct worker_lock;

void node_locks_new(struct node *node);
void node_locks_wanted(struct node *node, const struct worker_lock *wanted);
void node_locks_unlock(struct node *node, uint64_t lock);
/* At the end: whoever held them is dead. Gives them back cleanly, as far as the database can be
 * reached within a moment. */
void node_locks_end(struct node *node);

#endif
