/*
 * The leader's work on the history: its partitions are made, cut, counted and dropped. An idle
 * history costs a statement every 15 s.
 */
#ifndef COORD_HISTORY_H
#define COORD_HISTORY_H

struct node;
struct node_config;

void history_new(struct node *node);
void history_free(struct node *node);
void history_look(struct node *node);                     /* now, and from then on regularly */
char *history_settings(const struct node_config *config); /* for the built-in worker; to be freed */

#endif
