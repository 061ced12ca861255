/*
 * What a node counts about itself: the families of its own numbers, and the observer that keeps
 * them. The coordinator alone writes; the HTTP thread prints them (http/scrape.h) together with those of
 * the whole cluster. docs/metrics.md has the same table for people; a test compares the two.
 */
#ifndef COORD_METRICS_H
#define COORD_METRICS_H

#include "base/metric.h"

#include <stdbool.h>
#include <stdint.h>

#define METRICS_JOBS_MAX 200 /* values of job_name; later jobs share "other" */

struct node;
struct observation;
struct rota_error;
struct metrics;

struct metrics *metrics_new(void);
void metrics_free(struct metrics *metrics);
struct metric_set *metrics_set(struct metrics *metrics);

int metrics_observe(struct node *node, const struct observation *seen, struct rota_error *error);

/* At each beat and change of state: what is a state and no event. */
void metrics_sample(struct node *node);

/* What has no point to be seen at. */
void metrics_connected(struct node *node, const char *connection);
void metrics_lock_waited(struct node *node, bool obtained, int64_t waited_us);
void metrics_evaluated(struct node *node);           /* due triggers have been looked for */
void metrics_reloaded(struct node *node, bool good); /* the settings, on SIGHUP */
void metrics_events(struct node *node, int64_t written, int64_t lost);

#endif
