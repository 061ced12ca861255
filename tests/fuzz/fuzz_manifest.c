/* Manifests: any bytes; problems name their place, and what is taken has definitions that are JSON.
 */
#include "base/json.h"
#include "base/memory.h"
#include "coord/manifest_calendar.h"
#include "coord/manifest_definition.h"
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>

static void check_definition(const char *definition)
{
    struct json json;
    struct manifest_differences differences;
    CHECK(json_parse(&json, definition, strlen(definition), NULL) == 0);
    json_free(&json);
    manifest_compare(&differences, definition, definition);
    CHECK(differences.count == 0);
    manifest_differences_free(&differences);
}

/* What is stored can be evaluated. */
static void check_calendar(const struct manifest_calendar *calendar, struct zone_cache *zones)
{
    struct rota_error error = {0};
    CHECK(calendar->name != NULL);
    check_definition(calendar->definition);
    struct calendar *made =
        manifest_calendar_parse(calendar->name, calendar->definition, NULL, zones, &error);
    CHECK(made != NULL);
    calendar_unref(made);
}

/* What is stored may have been written by hand. */
static void check_stored(const char *text)
{
    struct rota_error error = {0};
    struct zone_cache *zones = zone_cache_new();
    struct calendar *made = manifest_calendar_parse("fuzz", text, NULL, zones, &error);
    CHECK((made == NULL) == (error.message[0] != '\0'));
    calendar_unref(made);
    zone_cache_free(zones);
}

static void check_manifest(const struct manifest *manifest)
{
    for (size_t i = 0; i < manifest->job_count; i++) {
        const struct manifest_job *job = &manifest->jobs[i];
        CHECK(job->name != NULL && job->handler != NULL);
        check_definition(job->definition);
        for (size_t j = 0; j < job->trigger_count; j++) {
            CHECK(job->triggers[j].name != NULL && job->triggers[j].timezone != NULL);
            check_definition(job->triggers[j].definition);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct manifest_set *set = manifest_set_new();
    manifest_add(set, "fuzz.json", mem_string_n((const char *)data, size), size);
    int failed = manifest_check(set);
    CHECK((failed != 0) == (set->problems.count > 0));
    for (size_t i = 0; i < set->problems.count && i < MANIFEST_PROBLEMS_MAX; i++)
        CHECK(strncmp(set->problems.lines[i], "fuzz.json:", 10) == 0);
    for (size_t i = 0; failed == 0 && i < set->count; i++)
        check_manifest(set->manifests[i]);
    for (size_t i = 0; failed == 0 && i < set->count; i++)
        for (size_t j = 0; j < set->manifests[i]->calendar_count; j++)
            check_calendar(&set->manifests[i]->calendars[j], set->zones);
    char *text = mem_string_n((const char *)data, size);
    check_stored(text);
    free(text);
    manifest_set_free(set);
    return 0;
}
