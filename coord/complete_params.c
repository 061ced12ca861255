/* The batches of complete as parameters of its statements: see finished.h. */
#include "coord/finished.h"

#include "base/clock.h"
#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

#define BITS_BYTES ((NODE_CLAIM_MAX + 7) / 8)

struct masks {
    int64_t fences[BATCH_MAX];
    uint8_t bits[BATCH_MAX][BITS_BYTES];
    const uint8_t *pointers[BATCH_MAX];
    size_t sizes[BATCH_MAX];
    size_t count;
};

static void mask_run(struct masks *masks, const struct run *run)
{
    size_t at = 0;
    while (at < masks->count && masks->fences[at] != run->receipt->fence)
        at++;
    if (at == masks->count) {
        masks->count++;
        masks->fences[at] = run->receipt->fence;
        masks->sizes[at] = run->receipt->size;
        masks->pointers[at] = masks->bits[at];
    }
    masks->bits[at][run->slot / 8] |=
        (uint8_t)(0x80 >> (run->slot % 8)); /* bit 0 is leftmost in PostgreSQL */
}

void finished_history_params(struct node *node, struct finished **batch, size_t n,
                             struct store_params *params)
{
    struct masks *masks = mem_alloc(sizeof *masks);
    int64_t fences[BATCH_MAX], ids[BATCH_MAX], started[BATCH_MAX], durations[BATCH_MAX],
        scheduled[BATCH_MAX];
    int32_t slots[BATCH_MAX], missed[BATCH_MAX];
    int16_t attempts[BATCH_MAX];
    const char *tasks[BATCH_MAX], *triggers[BATCH_MAX], *statuses[BATCH_MAX], *outcomes[BATCH_MAX];
    struct slice details[BATCH_MAX], data[BATCH_MAX];
    bool misfired[BATCH_MAX];
    for (size_t i = 0; i < n; i++) {
        const struct run *run = batch[i]->run;
        mask_run(masks, run);
        fences[i] = run->key.fence;
        slots[i] = (int32_t)run->slot;
        ids[i] = run->key.id;
        tasks[i] = run->job != NULL && !run->job->gone ? run->job->name : "(deleted job)";
        triggers[i] = run->trigger != NULL && !run->trigger->gone ? run->trigger->name : NULL;
        started[i] = run->started_us != 0 ? run->started_us : STORE_NULL_TIME;
        durations[i] = batch[i]->duration_us >= 0 ? batch[i]->duration_us / US_PER_MS : INT64_MIN;
        statuses[i] = batch[i]->status;
        outcomes[i] = batch[i]->outcome;
        attempts[i] = (int16_t)run->attempt;
        missed[i] = run->missed < INT32_MAX ? (int32_t)run->missed : INT32_MAX;
        scheduled[i] = run->scheduled_us;
        details[i] = slice_of(batch[i]->json);
        data[i] = slice_of(batch[i]->bare ? NULL : run->data);
        misfired[i] = run->made_up;
    }
    params_int32(params, node->member.incarnation);
    params_int64s(params, masks->fences, masks->count);
    params_bits_array(params, masks->pointers, masks->sizes, masks->count);
    params_int64s(params, fences, n);
    params_int32s(params, slots, n);
    params_int64s(params, ids, n);
    params_texts(params, tasks, n);
    params_texts(params, triggers, n);
    params_times(params, started, n);
    params_int64s(params, durations, n);
    params_texts(params, statuses, n);
    params_texts(params, outcomes, n);
    params_int16s(params, attempts, n);
    params_int32s(params, missed, n);
    params_times(params, scheduled, n);
    params_slices(params, PARAMS_JSON, details, n);
    params_text(params, node->config->node_name);
    params_bools(params, misfired, n);
    params_slices(params, PARAMS_JSON, data, n);
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
