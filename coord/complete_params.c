/* The batches of complete as parameters of its statements: see finished.h. */
#include "coord/finished.h"

#include "base/clock.h"
#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

#define BITS_BYTES ((NODE_CLAIM_MAX + 7) / 8)

/* The receipts of a batch, with the bits to be cleared in each. */
struct masks {
    const struct receipt *receipts[BATCH_MAX];
    int64_t fences[BATCH_MAX];
    uint8_t bits[BATCH_MAX][BITS_BYTES];
    const uint8_t *pointers[BATCH_MAX];
    size_t sizes[BATCH_MAX];
    size_t count;
};

/* What runs of a batch have in common, said once. */
struct kinds {
    struct kind {
        const struct job *job;
        const char *status, *outcome; /* constants */
        int32_t receipt;              /* place of it, from 1 */
        int attempt;
        int64_t missed;
        bool made_up;
    } kinds[BATCH_MAX];
    size_t count;
};

/* Runs of a receipt end together, most often: the newest is looked at first. Its place, from 1. */
static int32_t mask_run(struct masks *masks, const struct run *run)
{
    size_t at = masks->count;
    while (at > 0 && masks->receipts[at - 1] != run->receipt)
        at--;
    if (at == 0) {
        at = ++masks->count;
        masks->receipts[at - 1] = run->receipt;
        masks->fences[at - 1] = run->receipt->fence;
        masks->sizes[at - 1] = run->receipt->size;
        masks->pointers[at - 1] = masks->bits[at - 1];
    }
    masks->bits[at - 1][run->slot / 8] |=
        (uint8_t)(0x80 >> (run->slot % 8)); /* bit 0 is leftmost in PostgreSQL */
    return (int32_t)at;
}

static bool same_kind(const struct kind *a, const struct kind *b)
{
    return a->job == b->job && a->receipt == b->receipt && a->status == b->status &&
           a->outcome == b->outcome && a->attempt == b->attempt && a->missed == b->missed &&
           a->made_up == b->made_up;
}

static int32_t kind_of(struct kinds *kinds, const struct finished *finished, int32_t receipt)
{
    const struct run *run = finished->run;
    const struct kind kind = {run->job,     finished->status, finished->outcome, receipt,
                              run->attempt, run->missed,      run->made_up};
    size_t at = kinds->count;
    while (at > 0 && !same_kind(&kinds->kinds[at - 1], &kind))
        at--;
    if (at == 0) {
        at = ++kinds->count;
        kinds->kinds[at - 1] = kind;
    }
    return (int32_t)at;
}

static void kinds_params(const struct kinds *kinds, struct store_params *params)
{
    int32_t receipts[BATCH_MAX], missed[BATCH_MAX];
    int16_t attempts[BATCH_MAX];
    const char *tasks[BATCH_MAX], *statuses[BATCH_MAX], *outcomes[BATCH_MAX];
    bool misfired[BATCH_MAX];
    for (size_t i = 0; i < kinds->count; i++) {
        const struct kind *kind = &kinds->kinds[i];
        receipts[i] = kind->receipt;
        tasks[i] = kind->job != NULL && !kind->job->gone ? kind->job->name : "(deleted job)";
        statuses[i] = kind->status;
        outcomes[i] = kind->outcome;
        attempts[i] = (int16_t)kind->attempt;
        missed[i] = kind->missed < INT32_MAX ? (int32_t)kind->missed : INT32_MAX;
        misfired[i] = kind->made_up;
    }
    params_int32s(params, receipts, kinds->count);
    params_texts(params, tasks, kinds->count);
    params_texts(params, statuses, kinds->count);
    params_texts(params, outcomes, kinds->count);
    params_int16s(params, attempts, kinds->count);
    params_int32s(params, missed, kinds->count);
    params_bools(params, misfired, kinds->count);
}

static void json_params(struct store_params *params, const struct slice *values, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (values[i].data != NULL) {
            params_slices(params, PARAMS_JSON, values, n);
            return;
        }
    params_null(params);
}

static void trigger_params(struct store_params *params, struct finished **batch, size_t n)
{
    const char *names[BATCH_MAX];
    bool any = false;
    for (size_t i = 0; i < n; i++) {
        const struct trigger *trigger = batch[i]->run->trigger;
        names[i] = trigger != NULL && !trigger->gone ? trigger->name : NULL;
        any = any || names[i] != NULL;
    }
    if (any)
        params_texts(params, names, n);
    else
        params_null(params);
}

static void runs_params(struct finished **batch, size_t n, const int32_t *kinds,
                        struct store_params *params)
{
    int64_t ids[BATCH_MAX], started[BATCH_MAX], durations[BATCH_MAX], scheduled[BATCH_MAX];
    int32_t slots[BATCH_MAX];
    struct slice details[BATCH_MAX], data[BATCH_MAX];
    for (size_t i = 0; i < n; i++) {
        const struct run *run = batch[i]->run;
        slots[i] = (int32_t)run->slot;
        ids[i] = run->key.id;
        started[i] = run->started_us != 0 ? run->started_us : STORE_NULL_TIME;
        durations[i] = batch[i]->duration_us >= 0 ? batch[i]->duration_us / US_PER_MS : INT64_MIN;
        scheduled[i] = run->scheduled_us;
        details[i] = slice_of(batch[i]->json);
        data[i] = slice_of(batch[i]->bare ? NULL : run->data);
    }
    params_int32s(params, kinds, n);
    params_int32s(params, slots, n);
    params_int64s(params, ids, n);
    trigger_params(params, batch, n);
    params_times(params, started, n);
    params_int64s(params, durations, n);
    params_times(params, scheduled, n);
    json_params(params, details, n);
    json_params(params, data, n);
}

void finished_history_params(struct node *node, struct finished **batch, size_t n,
                             struct store_params *params)
{
    struct masks *masks = mem_alloc(sizeof *masks);
    struct kinds *kinds = mem_alloc(sizeof *kinds);
    int32_t kind_of_run[BATCH_MAX];
    for (size_t i = 0; i < n; i++)
        kind_of_run[i] = kind_of(kinds, batch[i], mask_run(masks, batch[i]->run));
    params_int32(params, node->member.incarnation);
    params_int64s(params, masks->fences, masks->count);
    params_bits_array(params, masks->pointers, masks->sizes, masks->count);
    kinds_params(kinds, params);
    runs_params(batch, n, kind_of_run, params);
    params_text(params, node->config->node_name);
    free(kinds);
    free(masks);
}

void finished_back_params(struct node *node, struct finished **batch, size_t n,
                          struct store_params *params)
{
    int64_t fences[BATCH_MAX], delays[BATCH_MAX];
    int32_t slots[BATCH_MAX], attempts[BATCH_MAX], crashes[BATCH_MAX];
    bool recovering[BATCH_MAX];
    struct slice entries[BATCH_MAX];
    for (size_t i = 0; i < n; i++) {
        fences[i] = batch[i]->run->key.fence;
        slots[i] = (int32_t)batch[i]->run->slot;
        delays[i] = (batch[i]->delay_us + US_PER_MS - 1) / US_PER_MS;
        attempts[i] = batch[i]->more_attempt;
        crashes[i] = batch[i]->more_crash;
        recovering[i] = batch[i]->recovering;
        entries[i] = slice_of(batch[i]->json);
    }
    params_int32(params, node->member.incarnation);
    params_int64s(params, fences, n);
    params_int32s(params, slots, n);
    params_int64s(params, delays, n);
    params_int32s(params, attempts, n);
    params_int32s(params, crashes, n);
    params_bools(params, recovering, n);
    params_slices(params, PARAMS_JSONB, entries, n);
}

bool finished_has_effects(const struct finished *finished)
{
    const struct run_effects *effects = &finished->effects;
    return effects->job_data != NULL || effects->trigger_error != NULL || effects->unschedule;
}

bool finished_has_end(const struct finished *finished)
{
    const struct run *run = finished->run;
    bool told = run->job != NULL && run->job->tells_failure && strcmp(finished->status, "success");
    return (run->extra || told) && !finished->bare;
}

void finished_ended_params(struct finished **batch, size_t n, struct store_params *params)
{
    int64_t ids[BATCH_MAX], fences[BATCH_MAX];
    size_t count = 0;
    for (size_t i = 0; i < n; i++) {
        if (!finished_has_end(batch[i]))
            continue;
        ids[count] = batch[i]->run->key.id;
        fences[count++] = batch[i]->run->key.fence;
    }
    params_int64s(params, ids, count);
    params_int64s(params, fences, count);
}

void finished_effects_params(struct finished **batch, size_t n, struct store_params *params)
{
    int64_t ids[BATCH_MAX], fences[BATCH_MAX];
    int32_t jobs[BATCH_MAX], triggers[BATCH_MAX];
    struct slice data[BATCH_MAX];
    const char *errors[BATCH_MAX];
    bool unschedule[BATCH_MAX];
    size_t count = 0;
    for (size_t i = 0; i < n; i++) {
        const struct run *run = batch[i]->run;
        if (!finished_has_effects(batch[i]))
            continue;
        ids[count] = run->key.id;
        fences[count] = run->key.fence;
        jobs[count] = run->job_id;
        triggers[count] = run->trigger_id != 0 ? run->trigger_id : INT32_MIN;
        data[count] = slice_of(batch[i]->effects.job_data);
        unschedule[count] = batch[i]->effects.unschedule;
        errors[count++] = batch[i]->effects.trigger_error;
    }
    params_int64s(params, ids, count);
    params_int64s(params, fences, count);
    params_int32s(params, jobs, count);
    params_int32s(params, triggers, count);
    params_slices(params, PARAMS_JSON, data, count);
    params_bools(params, unschedule, count);
    params_texts(params, errors, count);
}

void finished_lanes_params(struct finished **batch, size_t n, struct store_params *params)
{
    int64_t ids[BATCH_MAX], fences[BATCH_MAX];
    size_t count = 0;
    for (size_t i = 0; i < n; i++) {
        if (!batch[i]->run->laned)
            continue;
        ids[count] = batch[i]->run->key.id;
        fences[count++] = batch[i]->run->key.fence;
    }
    params_int64s(params, ids, count);
    params_int64s(params, fences, count);
}
