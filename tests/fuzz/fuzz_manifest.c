/* Manifests: any bytes; problems name their place, and what is taken has definitions that are JSON.
 */
#include "base/json.h"
#include "base/memory.h"
#include "coord/manifest.h"
#include "coord/manifest_definition.h"
#include "tests/fuzz/fuzz.h"

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
    manifest_set_free(set);
    return 0;
}
