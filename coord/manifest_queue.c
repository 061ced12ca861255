/* The rate of a job and what makes its runs unique, in manifests: see manifest_queue.h. */
#include "coord/manifest_queue.h"

#include "base/clock.h"

#include <stdio.h>

#define RATE_MAX   1000000                                /* starts per `per`: more is no limit */
#define PER_MAX_US (INT64_C(366) * 86400 * US_PER_SECOND) /* "so many a year" is still a rate */

const char *const manifest_untils[] = {"started", "finished", NULL};
const char *const manifest_conflicts[] = {"reject", "existing", "replace", "keep_time", NULL};

#define JOB(field) offsetof(struct manifest_job, field)

static const struct manifest_key rate_keys[] = {
    {"limit", KEY_NUMBER, JOB(rate_limit), 1, RATE_MAX},
    {"per", KEY_DURATION_MS, JOB(rate_per_ms), US_PER_MS, PER_MAX_US},
    {"burst", KEY_NUMBER, JOB(rate_burst), 1, RATE_MAX},
    {"key", KEY_NAME, JOB(rate_key), 0, MANIFEST_NAME_MAX},
};

static const struct manifest_key unique_keys[] = {
    {"key", KEY_NAME, JOB(unique_key), 0, MANIFEST_NAME_MAX},
    {"until", KEY_CHOICE, JOB(unique_until), .choices = manifest_untils},
    {"for", KEY_DURATION_MS, JOB(unique_for_ms), US_PER_MS, MANIFEST_DURATION_MAX_US},
    {"on_conflict", KEY_CHOICE, JOB(unique_conflict), .choices = manifest_conflicts},
};

bool manifest_is_pointer(const char *text)
{
    if (text[0] != '/')
        return false;
    for (const char *at = text; *at != '\0'; at++)
        if (at[0] == '~' && at[1] != '0' && at[1] != '1')
            return false;
    return true;
}

void manifest_check_pointer(struct manifest_reader *reader, const struct json_value *object,
                            const char *what, const char *pointer)
{
    char shown[MANIFEST_WHAT_SIZE];
    const struct json_value *key = json_get(&reader->json, object, "key");
    if (pointer != NULL && !manifest_is_pointer(pointer))
        manifest_problem(reader, key,
                         "%s: \"key\" must be a JSON pointer (RFC 6901) into the data such as "
                         "\"/customer\", with ~0 for ~ and ~1 for / in a name, not %s",
                         what, manifest_shown(key, shown));
}

void manifest_read_rate(struct manifest_reader *reader, const struct json_value *rate,
                        const char *job_what, struct manifest_job *job)
{
    char what[2 * MANIFEST_WHAT_SIZE];
    snprintf(what, sizeof what, "%s, rate", job_what);
    if (!manifest_is_object(reader, rate, what))
        return;
    manifest_read(reader, rate, what, rate_keys, MANIFEST_COUNT(rate_keys), job);
    manifest_want(reader, rate, what, "limit",
                  "add the number of runs that may start in that time, for example \"limit\": 100");
    manifest_want(reader, rate, what, "per", "add the time, for example \"per\": \"1m\"");
    if (job->rate_burst == MANIFEST_UNSET)
        job->rate_burst = job->rate_limit;
    manifest_check_pointer(reader, rate, what, job->rate_key);
}

/* Other than lanes and rates, runs may be told apart by all of their data: the empty pointer. */
void manifest_read_unique(struct manifest_reader *reader, const struct json_value *unique,
                          const char *job_what, struct manifest_job *job)
{
    char what[2 * MANIFEST_WHAT_SIZE];
    snprintf(what, sizeof what, "%s, unique", job_what);
    if (!manifest_is_object(reader, unique, what))
        return;
    manifest_read(reader, unique, what, unique_keys, MANIFEST_COUNT(unique_keys), job);
    if (unique->count == 0)
        manifest_problem(reader, unique,
                         "%s says nothing; add what makes a run unique, for example \"key\": "
                         "\"/customer\", or \"key\": \"\" for the whole data",
                         what);
    if (job->unique_key != NULL && job->unique_key[0] != '\0')
        manifest_check_pointer(reader, unique, what, job->unique_key);
}
