/*
 * What changes on this node goes into the log of events of the fleet (sql/schema/0014_events.sql):
 * gathered in memory for EVENTS_PAUSE_US, then written as one row by one statement on the session
 * connection, which does not wait for the disk. A run costs two numbers in two texts, no statement
 * and nothing on the work connection. What cannot be written for long is counted, and the log says
 * so: a reader knows that it has missed something. Likewise when a node dies: its last moments are
 * in the history, and node.recovered tells of it.
 */
#ifndef COORD_EVENTS_H
#define COORD_EVENTS_H

#include "base/clock.h"

#include <stddef.h>
#include <stdint.h>

struct node;
struct observation;
struct rota_error;

#define EVENTS_PAUSE_US  (100 * US_PER_MS)
#define EVENTS_BYTES_MAX (4u << 20)  /* kept while they cannot be written */
#define EVENTS_LOG_BYTES (128 << 20) /* of the fleet's log, in four parts */

void events_new(struct node *node);
void events_free(struct node *node);
int events_observe(struct node *node, const struct observation *seen, struct rota_error *error);
void events_ready(struct node *node); /* the session is back */
void events_told(struct node *node);  /* others have something to tell: the leader's to write */
void events_end(struct node *node);   /* writes what is left, for a moment */

#endif
