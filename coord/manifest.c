/*
 * The shape of a manifest and the rules of its objects: see manifest.h. Single values are read by
 * manifest_value.c, schedules are judged by coord/schedule.
 */
#include "coord/manifest.h"

#include "base/clock.h"
#include "base/memory.h"
#include "coord/manifest_calendar.h"
#include "coord/manifest_queue.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ATTEMPTS_MAX 1000  /* a run that failed so often needs a person */
#define LANE_MAX     10000 /* runs of a job at once: more is no limit */
#define IMMEDIATE_RETRIES                                                                          \
    5 /* attempts of "retry": "immediate", which has no pause between them                         \
       */

const char *const manifest_backoffs[] = {[MANIFEST_IMMEDIATE] = "immediate",
                                         [MANIFEST_FIXED] = "fixed",
                                         [MANIFEST_EXPONENTIAL] = "exponential",
                                         NULL};

const char *const manifest_exhausted[] = {"fail", "error", NULL};

/* Each object is read into one of these: its fields, and the members that are read apart. */
struct top {
    char *source;
    const struct json_value *jobs, *calendars;
};

struct job_reading {
    struct manifest_job job;
    int64_t disallow_concurrent;
    const struct json_value *retry, *triggers, *concurrency, *rate, *unique;
};

#define TOP(field) offsetof(struct top, field)
#define JOB(field) offsetof(struct job_reading, field)

static const struct manifest_key top_keys[] = {
    {"source", KEY_NAME, TOP(source), 1, MANIFEST_NAME_MAX},
    {"jobs", KEY_VALUE, TOP(jobs)},
    {"calendars", KEY_VALUE, TOP(calendars)},
};

static const struct manifest_key job_keys[] = {
    {"name", KEY_NAME, JOB(job.name), 1, MANIFEST_NAME_MAX},
    {"description", KEY_TEXT, JOB(job.description), 0, MANIFEST_DESCRIPTION_MAX},
    {"handler", KEY_NAME, JOB(job.handler), 1, MANIFEST_NAME_MAX},
    {"data", KEY_DATA, JOB(job.data)},
    {"requests_recovery", KEY_FLAG, JOB(job.requests_recovery)},
    {"durable", KEY_FLAG, JOB(job.durable)},
    {"priority", KEY_NUMBER, JOB(job.priority), 1, 100},
    {"timeout", KEY_DURATION_MS, JOB(job.timeout_ms), US_PER_MS, MANIFEST_DURATION_MAX_US},
    {"retry", KEY_VALUE, JOB(retry)},
    {"max_crashes", KEY_NUMBER, JOB(job.max_crashes), 1, ATTEMPTS_MAX},
    {"triggers", KEY_VALUE, JOB(triggers)},
    {"disallow_concurrent", KEY_FLAG, JOB(disallow_concurrent)},
    {"concurrency", KEY_VALUE, JOB(concurrency)},
    {"persist_data", KEY_FLAG, JOB(job.persist_data)},
    {"on_exhausted", KEY_CHOICE, JOB(job.on_exhausted), .choices = manifest_exhausted},
    {"rate", KEY_VALUE, JOB(rate)},
    {"unique", KEY_VALUE, JOB(unique)},
    {"on_failure", KEY_NAME, JOB(job.on_failure), 1, MANIFEST_NAME_MAX},
    {"max_pending", KEY_NUMBER, JOB(job.max_pending), 1, MANIFEST_PENDING_MAX},
    {"expires_in", KEY_DURATION_MS, JOB(job.expires_in_ms), US_PER_MS, MANIFEST_DURATION_MAX_US},
    {"lease", KEY_LATER},
};

static const struct manifest_key concurrency_keys[] = {
    {"limit", KEY_NUMBER, JOB(job.lane_limit), 1, LANE_MAX},
    {"key", KEY_NAME, JOB(job.lane_key), 0, MANIFEST_NAME_MAX},
};

static const struct manifest_key retry_keys[] = {
    {"max_attempts", KEY_NUMBER, JOB(job.max_attempts), 1, ATTEMPTS_MAX},
    {"backoff", KEY_CHOICE, JOB(job.backoff), .choices = manifest_backoffs},
    {"initial", KEY_DURATION_MS, JOB(job.retry_initial_ms), 0, MANIFEST_DURATION_MAX_US},
    {"max", KEY_DURATION_MS, JOB(job.retry_max_ms), 0, MANIFEST_DURATION_MAX_US},
    {"jitter", KEY_FRACTION, JOB(job.retry_jitter)},
};

/* --- jobs ------------------------------------------------------------------------------------ */

static void read_retry(struct manifest_reader *reader, const char *job_what,
                       struct job_reading *reading)
{
    char what[2 * MANIFEST_WHAT_SIZE];
    struct manifest_job *job = &reading->job;
    const struct json_value *retry = reading->retry;
    if (json_is(retry, "immediate")) {
        job->max_attempts = IMMEDIATE_RETRIES;
        job->backoff = MANIFEST_IMMEDIATE;
        return;
    }
    if (retry->type != JSON_OBJECT) {
        char shown[MANIFEST_WHAT_SIZE];
        manifest_problem(
            reader, retry,
            "%s: \"retry\" must be an object such as {\"max_attempts\": 3} or the word "
            "\"immediate\", not %s",
            job_what, manifest_shown(retry, shown));
        return;
    }
    snprintf(what, sizeof what, "%s, retry", job_what);
    manifest_read(reader, retry, what, retry_keys, MANIFEST_COUNT(retry_keys), reading);
    manifest_want(reader, retry, what, "max_attempts",
                  "without it nothing is tried again; add for example \"max_attempts\": 3");
    if (json_get(&reader->json, retry, "max") == NULL && job->retry_max_ms < job->retry_initial_ms)
        job->retry_max_ms = job->retry_initial_ms;
    if (job->backoff == MANIFEST_EXPONENTIAL && job->retry_max_ms < job->retry_initial_ms)
        manifest_problem(reader, json_get(&reader->json, retry, "max"),
                         "%s: \"max\" is shorter than \"initial\"; make it at least as long", what);
}

/* What has no effect is as if it had not been said, so that it makes no difference either. */
static void settle_retry(struct manifest_job *job)
{
    if (job->max_attempts == 1)
        job->backoff = MANIFEST_EXPONENTIAL;
    if (job->max_attempts == 1 || job->backoff == MANIFEST_IMMEDIATE) {
        job->retry_initial_ms = MANIFEST_RETRY_INITIAL_MS;
        job->retry_jitter = MANIFEST_RETRY_JITTER;
    }
    if (job->max_attempts == 1 || job->backoff != MANIFEST_EXPONENTIAL)
        job->retry_max_ms = MANIFEST_RETRY_MAX_MS;
}

/* Its name for messages is as long as that of the job and a word. */
static void read_concurrency(struct manifest_reader *reader, const char *job_what,
                             struct job_reading *reading)
{
    char what[2 * MANIFEST_WHAT_SIZE];
    const struct json_value *concurrency = reading->concurrency;
    snprintf(what, sizeof what, "%s, concurrency", job_what);
    if (!manifest_is_object(reader, concurrency, what))
        return;
    if (reading->disallow_concurrent)
        manifest_problem(reader, concurrency,
                         "%s has both \"disallow_concurrent\" and \"concurrency\"; give one of "
                         "them: \"disallow_concurrent\": true is a limit of 1 without a key",
                         job_what);
    manifest_read(reader, concurrency, what, concurrency_keys, MANIFEST_COUNT(concurrency_keys),
                  reading);
    manifest_want(reader, concurrency, what, "limit",
                  "add the number of runs that may run at once, for example \"limit\": 1");
    manifest_check_pointer(reader, concurrency, what, reading->job.lane_key);
}

static void read_job(struct manifest_reader *reader, const struct json_value *object, size_t number,
                     struct manifest_job *ret_job)
{
    char what[MANIFEST_WHAT_SIZE];
    manifest_title(reader, object, "job", number, what);
    struct job_reading reading = {.job = {
                                      .requests_recovery = MANIFEST_UNSET,
                                      .priority = MANIFEST_PRIORITY,
                                      .timeout_ms = MANIFEST_UNSET,
                                      .max_attempts = 1,
                                      .backoff = MANIFEST_EXPONENTIAL,
                                      .retry_initial_ms = MANIFEST_RETRY_INITIAL_MS,
                                      .retry_max_ms = MANIFEST_RETRY_MAX_MS,
                                      .retry_jitter = MANIFEST_RETRY_JITTER,
                                      .max_crashes = MANIFEST_CRASHES,
                                      .lane_limit = MANIFEST_UNSET,
                                      .max_pending = MANIFEST_UNSET,
                                      .expires_in_ms = MANIFEST_UNSET,
                                      .rate_limit = MANIFEST_UNSET,
                                      .rate_per_ms = MANIFEST_UNSET,
                                      .rate_burst = MANIFEST_UNSET,
                                      .unique_until = MANIFEST_UNSET,
                                      .unique_for_ms = MANIFEST_UNSET,
                                      .unique_conflict = MANIFEST_UNSET,
                                      .offset = manifest_offset(reader, object),
                                  }};
    if (manifest_is_object(reader, object, what)) {
        manifest_read(reader, object, what, job_keys, MANIFEST_COUNT(job_keys), &reading);
        manifest_want(reader, object, what, "name", "add one: it is unique in the fleet");
        manifest_want(reader, object, what, "handler",
                      "add \"exec\", \"noop\" or one of your workers'");
        if (reading.retry != NULL)
            read_retry(reader, what, &reading);
        settle_retry(&reading.job);
        if (reading.concurrency != NULL)
            read_concurrency(reader, what, &reading);
        else if (reading.disallow_concurrent)
            reading.job.lane_limit = 1;
        if (reading.rate != NULL)
            manifest_read_rate(reader, reading.rate, what, &reading.job);
        if (reading.unique != NULL)
            manifest_read_unique(reader, reading.unique, what, &reading.job);
        manifest_read_triggers(reader, reading.triggers, what, &reading.job);
        if (!reading.job.durable && (reading.triggers == NULL || reading.triggers->count == 0))
            manifest_problem(reader, object,
                             "%s has neither triggers nor \"durable\": true, so nothing could ever "
                             "run it; give it one of them",
                             what);
    }
    *ret_job = reading.job;
}

void manifest_read_top(struct manifest_reader *reader)
{
    struct manifest *manifest = reader->manifest;
    const struct json_value *root = &reader->json.values[0];
    struct top top = {0};
    if (manifest_is_object(reader, root, "a manifest")) {
        manifest_read(reader, root, "manifest", top_keys, MANIFEST_COUNT(top_keys), &top);
        manifest_want(reader, root, "manifest", "jobs", "add an array; [] declares none");
        if (top.calendars != NULL)
            manifest_read_calendars(reader, top.calendars);
        const struct json_value *at =
            manifest_elements(reader, top.jobs, "manifest", "jobs", "objects");
        manifest->jobs = mem_array(at != NULL ? top.jobs->count : 0, sizeof *manifest->jobs);
        for (; at != NULL; at = json_next(&reader->json, at)) {
            read_job(reader, at, manifest->job_count + 1, &manifest->jobs[manifest->job_count]);
            manifest->job_count++;
        }
    }
    manifest->source = top.source != NULL ? top.source : mem_string(MANIFEST_SOURCE);
}
