/*
 * Actions on jobs, triggers, sources, the fleet and nodes: what `rota pause`, `resume`, `reset`,
 * `reschedule`, `delete`, `drain`, `standby`, `resume-node` and `evict` do, with the same
 * statements and functions and the same documents.
 */
#include "coord/http/act.h"

#include "base/instant.h"
#include "base/json.h"
#include "base/memory.h"
#include "coord/remove.h"
#include "coord/reschedule.h"
#include "coord/reset_named.h"
#include "store/store.h"

#include <stdlib.h>
#include <string.h>

#define WAIT_US (5 * INT64_C(1000000)) /* for an apply to end: a client waits less patiently */

static void put_text(struct buffer *out, const char *key, const char *text)
{
    buffer_format(out, "\"%s\":", key);
    if (text != NULL)
        buffer_json(out, text, strlen(text));
    else
        buffer_string(out, "null");
    buffer_char(out, ',');
}

static struct apply_options options_of(struct web_act *act)
{
    return (struct apply_options){
        .base = act->base, .stop = act->stop, .wait_us = WAIT_US, .audit = &act->audit};
}

static void name_audit(struct web_act *act, const char *action, const char *noun, const char *name)
{
    act->audit.action = action;
    act->audit.noun = noun;
    act->audit.name = name;
}

/* What is not there is answered in the words of HTTP. Returns -1. */
static int without_words(struct rota_error *error)
{
    if (error->code == ERROR_NOT_FOUND)
        error->message[0] = '\0';
    return -1;
}

/* A member of the body that is true. */
static bool body_is_true(const struct web_act *act, const char *name)
{
    struct json json;
    if (json_parse(&json, act->body.data, act->body.length, NULL) != 0)
        return false;
    const struct json_value *value = json_get(&json, json.values, name);
    bool is_true = value != NULL && json_true(value);
    json_free(&json);
    return is_true;
}

/* ---- pause and resume ---- */

static int look(struct web_act *act, const char *scope, struct rota_error *error)
{
    struct store_params params = {0};
    PGresult *result;
    size_t count;
    params_text(&params, scope);
    params_text(&params, act->name);
    int failed = store_wait(act->store, SQL_PAUSE_SHOW, &params, STORE_WITHIN, &result, error);
    store_params_free(&params);
    if (failed != 0)
        return -1;
    char **reasons = row_texts(result, 0, 3, &count);
    buffer_format(&act->answer, "\"triggers_paused\":%lld,\"runs_held\":%lld,\"paused_by\":[",
                  (long long)row_int64(result, 0, 1), (long long)row_int64(result, 0, 2));
    for (size_t i = 0; i < count; i++)
        buffer_format(&act->answer, "%s\"%s\"", i > 0 ? "," : "", reasons[i]);
    buffer_string(&act->answer, "]}");
    free(reasons);
    PQclear(result);
    return 0;
}

static int set(struct web_act *act, const char *scope, bool resume, int64_t *ret_changed,
               struct rota_error *error)
{
    struct store_params params = {0};
    PGresult *result;
    params_text(&params, scope);
    params_text(&params, act->name);
    if (resume)
        params_bool(&params, body_is_true(act, "catch_up"));
    int failed = store_wait(act->store, resume ? SQL_PAUSE_CLEAR : SQL_PAUSE_SET, &params,
                            STORE_WITHIN, &result, error);
    store_params_free(&params);
    if (failed != 0)
        return -1;
    if (row_null(result, 0, 0))
        failed = error_set(error, ERROR_NOT_FOUND, "%s", "");
    else
        *ret_changed = row_int64(result, 0, 0);
    PQclear(result);
    return failed;
}

static int set_pause(struct web_act *act, const char *scope, bool resume, struct rota_error *error)
{
    const char *action = resume ? "resume" : "pause";
    int64_t changed = 0;
    if (web_act_begin(act, action, scope, act->name != NULL ? act->name : "all", error) != 0)
        return -1;
    if (set(act, scope, resume, &changed, error) != 0)
        return web_act_abort(act, error);
    buffer_char(&act->answer, '{');
    put_text(&act->answer, "action", action);
    put_text(&act->answer, "scope", scope);
    put_text(&act->answer, "name", act->name);
    buffer_format(&act->answer, "\"triggers_changed\":%lld,", (long long)changed);
    if (look(act, scope, error) != 0 || web_act_end(act, error) != 0)
        return web_act_abort(act, error);
    return 0;
}

int web_act_pause_trigger(struct web_act *act, struct rota_error *error)
{
    return set_pause(act, "trigger", false, error);
}

int web_act_resume_trigger(struct web_act *act, struct rota_error *error)
{
    return set_pause(act, "trigger", true, error);
}

int web_act_pause_job(struct web_act *act, struct rota_error *error)
{
    return set_pause(act, "job", false, error);
}

int web_act_resume_job(struct web_act *act, struct rota_error *error)
{
    return set_pause(act, "job", true, error);
}

int web_act_pause_source(struct web_act *act, struct rota_error *error)
{
    return set_pause(act, "source", false, error);
}

int web_act_resume_source(struct web_act *act, struct rota_error *error)
{
    return set_pause(act, "source", true, error);
}

int web_act_pause_all(struct web_act *act, struct rota_error *error)
{
    return set_pause(act, "all", false, error);
}

int web_act_resume_all(struct web_act *act, struct rota_error *error)
{
    return set_pause(act, "all", true, error);
}

/* ---- reset ---- */

static int reset(struct web_act *act, struct rota_error *error)
{
    const struct apply_options options = options_of(act);
    struct reset_outcome outcome = {0};
    name_audit(act, "reset", act->name != NULL ? "trigger" : "all",
               act->name != NULL ? act->name : "all");
    if (reset_named(act->store, act->name, &options, &outcome, error) != 0)
        return without_words(error);
    reset_outcome_json(&outcome, &act->answer);
    reset_outcome_free(&outcome);
    return 0;
}

int web_act_reset(struct web_act *act, struct rota_error *error)
{
    return reset(act, error);
}

/* ---- reschedule ---- */

static const char *const schedule_keys[] = {"cron",  "every",  "at",       "calendar_interval",
                                            "daily", "repeat", "timezone", "start_at",
                                            "end_at"};
#define KEY_COUNT  (sizeof schedule_keys / sizeof *schedule_keys)
#define KIND_COUNT 5 /* the first ones exclude each other */

/* The keys of the body, as they are written there; null takes one away. 0 or -1. */
static int take_keys(const struct json *json, struct reschedule_key *keys, char **texts,
                     size_t *ret_count, struct rota_error *error)
{
    const char *kind = NULL;
    size_t count = 0;
    for (size_t i = 0; i < KEY_COUNT; i++) {
        const struct json_value *value = json_get(json, json->values, schedule_keys[i]);
        if (value == NULL)
            continue;
        if (i < KIND_COUNT && kind != NULL)
            return error_set(error, ERROR_USAGE, "%s and %s exclude each other", kind,
                             schedule_keys[i]);
        kind = i < KIND_COUNT ? schedule_keys[i] : kind;
        texts[count] =
            value->type != JSON_NULL ? mem_string_n(value->raw.data, value->raw.length) : NULL;
        keys[count] = (struct reschedule_key){
            .key = schedule_keys[i], .value = texts[count], .called = schedule_keys[i]};
        count++;
    }
    *ret_count = count;
    return count > 0
               ? 0
               : error_set(error, ERROR_USAGE, "to what? Give cron, every, at or another schedule");
}

static void put_reschedule(struct web_act *act, const struct reschedule *done)
{
    char next[TIME_TEXT_SIZE];
    struct buffer *out = &act->answer;
    buffer_char(out, '{');
    put_text(out, "trigger", act->name);
    put_text(out, "job", done->job);
    buffer_format(out, "\"changed\":%s,\"paused\":%s,\"next_fire_time\":",
                  done->changed ? "true" : "false", done->paused ? "true" : "false");
    if (done->next_at_us == MANIFEST_UNSET)
        buffer_string(out, "null}");
    else
        buffer_format(out, "\"%s\"}", instant_format(done->next_at_us, next));
}

int web_act_reschedule(struct web_act *act, struct rota_error *error)
{
    const struct apply_options options = options_of(act);
    struct reschedule_key keys[KEY_COUNT];
    char *texts[KEY_COUNT] = {0};
    struct reschedule done;
    struct json json;
    size_t count = 0;
    name_audit(act, "reschedule", "trigger", act->name);
    if (json_parse(&json, act->body.data, act->body.length, error) != 0)
        return -1;
    int failed = take_keys(&json, keys, texts, &count, error);
    if (failed == 0)
        failed = reschedule_trigger(act->store, act->name, keys, count, &options, &done, error);
    if (failed == 0) {
        put_reschedule(act, &done);
        reschedule_free(&done);
    } else {
        without_words(error);
    }
    for (size_t i = 0; i < KEY_COUNT; i++)
        free(texts[i]);
    json_free(&json);
    return failed;
}

/* ---- delete ---- */

static int delete (struct web_act *act, bool job, struct rota_error *error)
{
    const struct apply_options options = options_of(act);
    struct removal removal = {0};
    struct buffer *out = &act->answer;
    const char *noun = job ? "job" : "trigger";
    name_audit(act, "delete", noun, act->name);
    int failed =
        (job ? remove_job : remove_trigger)(act->store, act->name, &options, &removal, error);
    if (failed != 0)
        return without_words(error);
    buffer_char(out, '{');
    put_text(out, "deleted", noun);
    put_text(out, "name", act->name);
    put_text(out, "job", removal.job);
    put_text(out, "source", removal.source);
    buffer_format(out, "\"job_deleted\":%s,\"triggers_deleted\":%lld,\"runs_cancelled\":%lld}",
                  removal.job_gone ? "true" : "false", (long long)removal.triggers_gone,
                  (long long)removal.runs_cancelled);
    removal_free(&removal);
    return 0;
}

int web_act_delete_job(struct web_act *act, struct rota_error *error)
{
    return delete (act, true, error);
}

int web_act_delete_trigger(struct web_act *act, struct rota_error *error)
{
    return delete (act, false, error);
}

/* ---- nodes ---- */

static int take_wish(struct web_act *act, const PGresult *result, struct rota_error *error)
{
    struct buffer *out = &act->answer;
    if (!row_bool(result, 0, 0))
        return error_set(error, ERROR_NOT_FOUND, "%s", "");
    const char *state = row_text(result, 0, 1);
    buffer_char(out, '{');
    put_text(out, "node", act->name);
    put_text(out, "wish", row_text(result, 0, 2));
    put_text(out, "before", state != NULL ? state : "gone");
    buffer_format(out, "\"already\":%s}", row_bool(result, 0, 3) ? "true" : "false");
    return 0;
}

/* Recorded and told; the node does it by itself, at the latest with its next heartbeat. */
static int ask_node(struct web_act *act, const char *wish, struct rota_error *error)
{
    struct store_params params = {0};
    PGresult *result;
    if (web_act_begin(act, wish, "node", act->name, error) != 0)
        return -1;
    params_text(&params, act->name);
    params_text(&params, wish);
    int failed = store_wait(act->store, SQL_NODE_WISH, &params, STORE_WITHIN, &result, error);
    store_params_free(&params);
    if (failed == 0) {
        failed = take_wish(act, result, error);
        PQclear(result);
    }
    if (failed != 0 || web_act_end(act, error) != 0)
        return web_act_abort(act, error);
    return 0;
}

int web_act_drain(struct web_act *act, struct rota_error *error)
{
    return ask_node(act, "drain", error);
}

int web_act_standby(struct web_act *act, struct rota_error *error)
{
    return ask_node(act, "standby", error);
}

int web_act_resume_node(struct web_act *act, struct rota_error *error)
{
    return ask_node(act, "run", error);
}

/* The others see what it had and take it over; that is not waited for. */
int web_act_evict(struct web_act *act, struct rota_error *error)
{
    return ask_node(act, "evict", error);
}
