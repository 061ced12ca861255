/* Triggers out of error by name: see reset_named.h. */
#include "coord/reset_named.h"

#include "base/instant.h"
#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

void reset_outcome_free(struct reset_outcome *outcome)
{
    for (size_t i = 0; i < outcome->count; i++) {
        free(outcome->triggers[i].name);
        free(outcome->triggers[i].error);
    }
    free(outcome->triggers);
    *outcome = (struct reset_outcome){0};
}

static void put(const struct reset_trigger *trigger, struct buffer *out)
{
    char next[TIME_TEXT_SIZE];
    buffer_string(out, "{\"name\":");
    buffer_json(out, trigger->name, strlen(trigger->name));
    if (trigger->error != NULL) {
        buffer_string(out, ",\"error\":");
        buffer_json(out, trigger->error, strlen(trigger->error));
    } else if (trigger->next_us == STORE_NULL_TIME) {
        buffer_string(out, ",\"next_fire_time\":null");
    } else {
        buffer_format(out, ",\"next_fire_time\":\"%s\"", instant_format(trigger->next_us, next));
    }
    buffer_char(out, '}');
}

static void put_all(const struct reset_outcome *outcome, bool failed, struct buffer *out)
{
    bool first = true;
    for (size_t i = 0; i < outcome->count; i++) {
        if ((outcome->triggers[i].error != NULL) != failed)
            continue;
        if (!first)
            buffer_char(out, ',');
        first = false;
        put(&outcome->triggers[i], out);
    }
}

void reset_outcome_json(const struct reset_outcome *outcome, struct buffer *out)
{
    buffer_string(out, "{\"reset\":[");
    put_all(outcome, false, out);
    buffer_string(out, "],\"failed\":[");
    put_all(outcome, true, out);
    buffer_string(out, "]}");
}

/* Takes the texts over. One that somebody else has reset is none of ours. */
static void add(struct reset_outcome *outcome, struct reset *reset)
{
    for (size_t i = 0; i < reset->count; i++) {
        struct reset_trigger *trigger = &reset->triggers[i];
        if (trigger->error == NULL && !trigger->reset)
            continue;
        if (outcome->count == outcome->capacity) {
            outcome->capacity = outcome->capacity > 0 ? outcome->capacity * 2 : 16;
            outcome->triggers =
                mem_resize(outcome->triggers, outcome->capacity, sizeof *outcome->triggers);
        }
        outcome->failed += trigger->error != NULL;
        outcome->triggers[outcome->count++] = *trigger;
        trigger->name = trigger->error = NULL;
    }
}

/* One trigger that is not in error, or not there at all. */
static int check_state(const char *name, const PGresult *result, struct rota_error *error)
{
    if (name == NULL)
        return 0;
    if (PQntuples(result) == 0)
        return error_set(error, ERROR_NOT_FOUND, "no trigger is called \"%s\"", name);
    const char *state = row_text(result, 0, 2);
    if (strcmp(state, "in error") != 0)
        return error_set(error, ERROR_REFUSED,
                         "trigger \"%s\" is %s, not in error: nothing to reset", name, state);
    return 0;
}

/* The next page; *ret_count: how many there were. */
static int reset_page(struct store *store, const char *name, struct definitions *definitions,
                      int64_t revision, int32_t *after, size_t *ret_count,
                      struct reset_outcome *outcome, struct rota_error *error)
{
    struct store_params params = {0};
    struct reset *reset = reset_new();
    PGresult *result;
    int32_t ids[RESET_PAGE];
    params_text(&params, name);
    params_int32(&params, *after);
    int failed = store_wait(store, SQL_TRIGGER_STATES, &params, STORE_WITHIN, &result, error);
    store_params_free(&params);
    if (failed == 0) {
        *ret_count = (size_t)PQntuples(result);
        int64_t now_us = *ret_count > 0 ? row_time(result, 0, 3) : 0;
        for (size_t i = 0; i < *ret_count; i++)
            *after = ids[i] = row_int32(result, (int)i, 0);
        failed = check_state(name, result, error);
        PQclear(result);
        if (failed == 0 && *ret_count > 0)
            failed = reset_triggers(store, definitions, ids, *ret_count, now_us, revision,
                                    STORE_WITHIN, reset, error);
    }
    if (failed == 0)
        add(outcome, reset);
    reset_free(reset);
    return failed;
}

/* In the transaction that is open: all pages, then the end of it. */
static int reset_pages(struct store *store, const char *name, const struct apply_options *options,
                       struct definitions *definitions, struct reset_outcome *outcome,
                       struct rota_error *error)
{
    int64_t revision;
    int32_t after = 0;
    size_t count = RESET_PAGE;
    if (apply_revision(store, &revision, error) != 0)
        return -1;
    while (count == RESET_PAGE)
        if (reset_page(store, name, definitions, revision, &after, &count, outcome, error) != 0)
            return -1;
    return apply_commit(store, options, error);
}

static int reset_once(struct store *store, const char *name, const struct apply_options *options,
                      struct reset_outcome *outcome, struct rota_error *error)
{
    int64_t clock_us;
    if (apply_lock(store, options, &clock_us, error) != 0)
        return -1;
    struct zone_cache *zones = zone_cache_new();
    struct definitions *definitions = definitions_new(zones, MISFIRE_THRESHOLD_US);
    int failed = reset_pages(store, name, options, definitions, outcome, error);
    if (failed != 0 && error->sqlstate[0] == '\0') /* otherwise the store has ended it */
        store_rollback(store);
    definitions_free(definitions);
    zone_cache_free(zones);
    return failed;
}

int reset_named(struct store *store, const char *name, const struct apply_options *options,
                struct reset_outcome *ret_outcome, struct rota_error *error)
{
    struct reset_outcome outcome = {0};
    int failed, attempts = 0;
    do {
        reset_outcome_free(&outcome);
        *error = (struct rota_error){0};
        failed = reset_once(store, name, options, &outcome, error);
    } while (failed != 0 && apply_again(error, &attempts));
    if (failed == 0)
        *ret_outcome = outcome;
    else
        reset_outcome_free(&outcome);
    return failed;
}
