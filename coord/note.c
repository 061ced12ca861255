/* Notes of runs: see note.h. */
#include "coord/note.h"

#include "base/clock.h"
#include "base/instant.h"
#include "base/list.h"
#include "base/memory.h"
#include "base/text.h"
#include "coord/node.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define WRITE_US      (1 * US_PER_SECOND) /* between two writes of one run */
#define CHECKPOINT_US (100 * US_PER_MS)   /* the same, where there is a new checkpoint */
#define RETRY_US      (500 * US_PER_MS)   /* the database could not write them */
#define STEP_US       (20 * US_PER_MS)    /* writes that are due within it go together */
#define BATCH_MAX     NODE_CLAIM_MAX      /* runs of one statement */
#define BATCH_BYTES   (1u << 20)          /* about; it goes the way that claims go */

/* What was said since the last write; the newest wins. */
struct said {
    bool any;
    float fraction;              /* NaN: not said */
    char *message;               /* NULL: not said */
    char *checkpoint;            /* likewise */
    char *lines[NOTE_LINES_MAX]; /* JSON objects, a ring */
    size_t first, count, bytes;
    int64_t dropped;
};

struct note {
    struct list link; /* on the list of those that are not written */
    struct run *run;
    struct said fresh;
    struct said sent;   /* its write is out */
    int64_t written_us; /* monotonic: when the last write was sent; 0: none was */
    bool was_extra;     /* the run has a row of run_extra whether this is written or not */
    bool refused_told;  /* that a checkpoint is too large is said once a run */
};

struct notes {
    struct node *node;
    struct list unwritten;
    struct event *timer;
    int64_t timer_us; /* monotonic: for when it is set */
    bool out;
    struct run_key keys[BATCH_MAX]; /* of the batch that is out */
    size_t count;
    size_t limit; /* 1 after a batch was refused: finds the one that is at fault */
};

/* ---- what was said ---- */

static void said_clear(struct said *said)
{
    free(said->message);
    free(said->checkpoint);
    for (size_t i = 0; i < said->count; i++)
        free(said->lines[(said->first + i) % NOTE_LINES_MAX]);
    *said = (struct said){.fraction = NAN};
}

static void drop_oldest(struct said *said)
{
    char *line = said->lines[said->first];
    said->bytes -= strlen(line);
    said->first = (said->first + 1) % NOTE_LINES_MAX;
    said->count--;
    said->dropped++;
    free(line);
}

/* Takes the line. */
static void add_line(struct said *said, char *line)
{
    size_t length = strlen(line);
    while (said->count == NOTE_LINES_MAX ||
           (said->count > 0 && said->bytes + length > NOTE_LINES_BYTES))
        drop_oldest(said);
    said->lines[(said->first + said->count++) % NOTE_LINES_MAX] = line;
    said->bytes += length;
    said->any = true;
}

static void swap_text(char **older, char **newer)
{
    if (*newer != NULL) {
        char *text = *older;
        *older = *newer;
        *newer = text;
    }
}

/* What could not be written goes before what was said since. */
static void said_again(struct note *note)
{
    struct said newer = note->fresh;
    note->fresh = note->sent;
    note->sent = (struct said){.fraction = NAN};
    if (!isnan(newer.fraction))
        note->fresh.fraction = newer.fraction;
    swap_text(&note->fresh.message, &newer.message);
    swap_text(&note->fresh.checkpoint, &newer.checkpoint);
    note->fresh.dropped += newer.dropped;
    note->fresh.any = note->fresh.any || newer.any;
    for (size_t i = 0; i < newer.count; i++)
        add_line(&note->fresh, newer.lines[(newer.first + i) % NOTE_LINES_MAX]);
    newer.count = 0;
    said_clear(&newer);
}

void note_free(struct note *note)
{
    if (note == NULL)
        return;
    list_remove(&note->link);
    said_clear(&note->fresh);
    said_clear(&note->sent);
    free(note);
}

bool note_unwritten(const struct run *run)
{
    return run->note != NULL && (run->note->fresh.any || run->note->sent.any);
}

/* ---- when it is written ---- */

static int64_t due_us(const struct note *note)
{
    if (note->run->place == RUN_FINISHED || note->written_us == 0)
        return 0;
    return note->written_us + (note->fresh.checkpoint != NULL ? CHECKPOINT_US : WRITE_US);
}

static void write_at(struct notes *notes, int64_t at_us)
{
    if (notes->out || (evtimer_pending(notes->timer, NULL) && notes->timer_us <= at_us))
        return;
    struct timeval pause = clock_timeval(at_us - clock_monotonic_us());
    notes->timer_us = at_us;
    evtimer_add(notes->timer, &pause);
}

static void write_next(struct notes *notes)
{
    int64_t next = INT64_MAX;
    LIST_EACH (&notes->unwritten, struct note, link, note)
        next = due_us(note) < next ? due_us(note) : next;
    if (next != INT64_MAX)
        write_at(notes, next);
}

/* ---- writing ---- */

struct batch {
    int64_t ids[BATCH_MAX], fences[BATCH_MAX], dropped[BATCH_MAX];
    int32_t slots[BATCH_MAX];
    float fractions[BATCH_MAX];
    const char *messages[BATCH_MAX];
    struct slice checkpoints[BATCH_MAX], logs[BATCH_MAX];
    size_t ends[BATCH_MAX]; /* of the logs in `lines`; 0: none */
    struct buffer lines;
    size_t count, bytes;
};

static void add_note(struct batch *batch, struct note *note)
{
    const struct run *run = note->run;
    const struct said *said = &note->sent;
    size_t at = batch->count++;
    batch->ids[at] = run->key.id;
    batch->fences[at] = run->key.fence;
    batch->slots[at] = (int32_t)run->slot;
    batch->fractions[at] = said->fraction;
    batch->messages[at] = said->message;
    batch->checkpoints[at] = slice_of(said->checkpoint);
    batch->dropped[at] = said->dropped;
    batch->ends[at] = 0;
    for (size_t i = 0; i < said->count; i++) {
        buffer_char(&batch->lines, i == 0 ? '[' : ',');
        buffer_string(&batch->lines, said->lines[(said->first + i) % NOTE_LINES_MAX]);
    }
    if (said->count > 0) {
        buffer_char(&batch->lines, ']');
        batch->ends[at] = batch->lines.length;
    }
    batch->bytes += said->bytes + batch->checkpoints[at].length;
}

static void batch_params(struct node *node, struct batch *batch, struct store_params *params)
{
    size_t n = batch->count, begin = 0;
    for (size_t i = 0; i < n; i++) {
        batch->logs[i] = SLICE_NONE;
        if (batch->ends[i] == 0)
            continue;
        batch->logs[i] = (struct slice){batch->lines.data + begin, batch->ends[i] - begin};
        begin = batch->ends[i];
    }
    params_int32(params, node->member.incarnation);
    params_int64s(params, batch->ids, n);
    params_int64s(params, batch->fences, n);
    params_int32s(params, batch->slots, n);
    params_floats(params, batch->fractions, n);
    params_texts(params, batch->messages, n);
    params_slices(params, PARAMS_JSON, batch->checkpoints, n);
    params_slices(params, PARAMS_JSONB, batch->logs, n);
    params_int64s(params, batch->dropped, n);
}

static void on_written(void *arg, const struct store_answer *answer);

static void write_notes(struct notes *notes)
{
    int64_t now = clock_monotonic_us();
    if (notes->out || !store_ready(notes->node->work))
        return; /* asked again when it is answered, or ready */
    struct batch *batch = mem_alloc(sizeof *batch);
    LIST_EACH (&notes->unwritten, struct note, link, note) {
        if (batch->count >= notes->limit || batch->bytes >= BATCH_BYTES)
            break;
        if (due_us(note) > now + STEP_US)
            continue;
        list_remove(&note->link);
        notes->keys[batch->count] = note->run->key;
        note->sent = note->fresh;
        note->fresh = (struct said){.fraction = NAN};
        note->written_us = now;
        add_note(batch, note);
    }
    notes->count = batch->count;
    if (batch->count > 0) {
        struct store_params params = {0};
        batch_params(notes->node, batch, &params);
        notes->out = true;
        store_call(notes->node->work, SQL_RUN_NOTE, &params, 0, on_written, notes);
        store_params_free(&params);
    } else {
        write_next(notes);
    }
    buffer_free(&batch->lines);
    free(batch);
}

/* The note of a run of the batch that was out; NULL: the run is not ours any more. */
static struct note *note_of(struct notes *notes, size_t i)
{
    struct run *run = runs_find(notes->node->runs, notes->keys[i].id, notes->keys[i].fence);
    return run != NULL ? run->note : NULL;
}

static void put_back(struct notes *notes)
{
    for (size_t i = notes->count; i > 0; i--) {
        struct note *note = note_of(notes, i - 1);
        if (note == NULL)
            continue;
        said_again(note);
        list_remove(&note->link);
        list_prepend(&notes->unwritten, &note->link);
    }
}

static void forget_sent(struct notes *notes)
{
    for (size_t i = 0; i < notes->count; i++) {
        struct note *note = note_of(notes, i);
        if (note != NULL)
            said_clear(&note->sent);
    }
    notes->limit = BATCH_MAX;
}

/* True: what was out is settled, one way or the other. */
static bool settle(struct notes *notes, const struct rota_error *error)
{
    if (error == NULL) {
        forget_sent(notes);
        return true;
    }
    if (store_fault(error) == FAULT_RETRY || notes->count > 1) {
        put_back(notes);
        notes->limit = store_fault(error) == FAULT_RETRY ? notes->limit : 1;
        return false;
    }
    log_error(&notes->node->log, "what a worker said of its run cannot be written",
              LOG_INT("run", notes->keys[0].id), LOG_TEXT("error", error->message),
              LOG_TEXT("sqlstate", error->sqlstate));
    forget_sent(notes);
    return true;
}

static void on_written(void *arg, const struct store_answer *answer)
{
    struct notes *notes = arg;
    notes->out = false;
    if (settle(notes, answer->error)) {
        complete_ready(notes->node); /* runs may wait for this to end */
        write_next(notes);
    } else {
        write_at(notes,
                 clock_monotonic_us() + (store_fault(answer->error) == FAULT_RETRY ? RETRY_US : 0));
    }
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    write_notes(arg);
}

/* ---- what workers say ---- */

/* The note of a run that is with a worker; NULL: nobody wants to know. */
static struct note *note_for(struct node *node, int64_t id, int64_t fence)
{
    struct run *run = runs_find(node->runs, id, fence);
    if (run == NULL || run->place != RUN_AT_WORKER || run->fenced)
        return NULL;
    if (run->note == NULL) {
        run->note = mem_alloc(sizeof *run->note);
        list_init(&run->note->link);
        run->note->run = run;
        run->note->was_extra = run->extra;
        run->note->fresh.fraction = run->note->sent.fraction = NAN;
    }
    run->extra = true;
    return run->note;
}

static void noted(struct node *node, struct note *note)
{
    note->fresh.any = true;
    if (list_empty(&note->link))
        list_append(&node->notes->unwritten, &note->link);
    write_at(node->notes, due_us(note));
}

static void replace(char **text, struct slice with)
{
    free(*text);
    *text = mem_string_n(with.data, with.length);
}

void note_progress(void *arg, int64_t id, int64_t fence, double fraction, struct slice message)
{
    struct node *node = arg;
    struct note *note = note_for(node, id, fence);
    if (note == NULL)
        return;
    if (!isnan(fraction))
        note->fresh.fraction = (float)fraction;
    if (message.data != NULL) {
        message.length = text_cut(message.data, message.length, NOTE_MESSAGE_MAX);
        replace(&note->fresh.message, message);
    }
    noted(node, note);
}

void note_checkpoint(void *arg, int64_t id, int64_t fence, struct slice data)
{
    struct node *node = arg;
    struct note *note = note_for(node, id, fence);
    if (note == NULL)
        return;
    if (data.length > NOTE_CHECKPOINT_MAX) {
        if (!note->refused_told)
            log_warn(&node->log, "checkpoint is not kept: at most 256 KiB are", LOG_INT("run", id),
                     LOG_INT("bytes", (int64_t)data.length));
        note->refused_told = true;
        return;
    }
    replace(&note->fresh.checkpoint, data);
    noted(node, note);
}

void note_log(void *arg, int64_t id, int64_t fence, const char *level, struct slice message)
{
    struct node *node = arg;
    struct note *note = note_for(node, id, fence);
    struct buffer line = {0};
    char when[TIME_TEXT_SIZE];
    if (note == NULL)
        return;
    buffer_format(&line, "{\"at\":\"%s\",\"level\":\"%s\",\"message\":",
                  instant_format(node_database_now(node), when), level);
    buffer_json(&line, message.data, text_cut(message.data, message.length, NOTE_LINE_MAX));
    buffer_char(&line, '}');
    buffer_char(&line, '\0');
    add_line(&note->fresh, line.data);
    noted(node, note);
}

void note_end(struct run *run)
{
    struct note *note = run->note;
    if (note == NULL || note->fresh.count > 0 || note->sent.any)
        return;
    said_clear(&note->fresh);
    list_remove(&note->link);
    run->extra = note->was_extra || note->written_us != 0;
}

void note_over(struct node *node, struct run *run)
{
    assert(run->place == RUN_FINISHED);
    if (note_unwritten(run))
        write_at(node->notes, 0);
}

/* ---- */

void notes_ready(struct node *node)
{
    write_next(node->notes);
}

void notes_new(struct node *node)
{
    struct notes *notes = mem_alloc(sizeof *notes);
    notes->node = node;
    notes->limit = BATCH_MAX;
    list_init(&notes->unwritten);
    notes->timer = evtimer_new(node->base, on_timer, notes);
    node->notes = notes;
}

/* The notes themselves are their runs'. */
void notes_free(struct node *node)
{
    if (node->notes == NULL)
        return;
    event_free(node->notes->timer);
    free(node->notes);
    node->notes = NULL;
}
