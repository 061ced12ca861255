/*
 * Notes: what workers say of their runs while these run: progress, checkpoints, lines of a log.
 * They are gathered in memory and written a batch at a time, each run's at most once a second (a
 * checkpoint ten times), so that a worker that says much costs little. What a run has noted is
 * written before its end or its put-back is, so that the next attempt is handed the last checkpoint
 * that was said. While the database is away the newest of it is kept.
 */
#ifndef COORD_NOTE_H
#define COORD_NOTE_H

#include "base/buffer.h"

#include <stdbool.h>
#include <stdint.h>

struct node;
struct run;
struct note; /* of one run: what is not written yet */

#define NOTE_MESSAGE_MAX    250          /* characters of what progress says; the rest is cut */
#define NOTE_CHECKPOINT_MAX (256u << 10) /* bytes: each claim carries it; beyond it is refused */
#define NOTE_LINES_MAX      100          /* the newest of a run are kept … */
#define NOTE_LINES_BYTES    (32u << 10)  /* … of at most so many bytes, as JSON */
#define NOTE_LINE_MAX       2000         /* characters of one; the rest is cut */

void notes_new(struct node *node);
void notes_free(struct node *node);
void notes_ready(struct node *node); /* the work connection is back */

/* Callbacks of the workers (worker/worker.h); arg is the node. */
void note_progress(void *arg, int64_t id, int64_t fence, double fraction, struct slice message);
void note_checkpoint(void *arg, int64_t id, int64_t fence, struct slice data);
void note_log(void *arg, int64_t id, int64_t fence, const char *level, struct slice message);

/* It is over for good: of what is not written only the log is of any use now. */
void note_end(struct run *run);
/* It is finished here: what it noted is written now. Then complete_ready() is called. */
void note_over(struct node *node, struct run *run);
bool note_unwritten(const struct run *run);
void note_free(struct note *note); /* NULL is fine */

#endif
