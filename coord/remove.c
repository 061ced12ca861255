/* Deletes a trigger or a job: see remove.h. */
#include "coord/remove.h"

#include "base/memory.h"
#include "store/store.h"

#include <stdlib.h>

struct finding {
    int32_t job;
    bool durable;
    int32_t *triggers; /* that go */
    size_t trigger_count;
    int64_t all_triggers; /* of the job */
    char *teller;         /* a job that tells this one of its failures; NULL: none */
};

void removal_free(struct removal *removal)
{
    free(removal->job);
    free(removal->source);
    *removal = (struct removal){0};
}

static int find(struct store *store, const char *noun, const char *name, struct finding *finding,
                struct removal *removal, struct rota_error *error)
{
    struct store_params params = {0};
    PGresult *result;
    params_text(&params, noun);
    params_text(&params, name);
    int failed = store_wait(store, SQL_DEFINITION_FIND, &params, STORE_WITHIN, &result, error);
    store_params_free(&params);
    if (failed != 0)
        return -1;
    if (PQntuples(result) == 0) {
        PQclear(result);
        return error_set(error, ERROR_NOT_FOUND, "no %s is called \"%s\"", noun, name);
    }
    int64_t *ids = row_int64s(result, 0, 4, &finding->trigger_count);
    finding->triggers = mem_array(finding->trigger_count, sizeof *finding->triggers);
    for (size_t i = 0; i < finding->trigger_count; i++)
        finding->triggers[i] = (int32_t)ids[i];
    free(ids);
    finding->job = row_int32(result, 0, 0);
    finding->durable = row_bool(result, 0, 3);
    finding->all_triggers = row_int64(result, 0, 5);
    finding->teller = mem_string(row_text(result, 0, 6));
    removal->job = mem_string(row_text(result, 0, 1));
    removal->source = mem_string(row_text(result, 0, 2));
    PQclear(result);
    return 0;
}

/* A claim that has one of them now ends first. */
static int lock_due(struct store *store, const struct finding *finding, struct rota_error *error)
{
    struct store_params params = {0};
    params_int32s(&params, finding->triggers, finding->trigger_count);
    int failed = store_wait(store, SQL_MANIFEST_LOCK_DUE, &params, STORE_WITHIN, NULL, error);
    store_params_free(&params);
    return failed;
}

static int write(struct store *store, const struct finding *finding,
                 const struct apply_options *options, const char *reason, struct removal *removal,
                 struct rota_error *error)
{
    const struct apply_removal what = {.triggers = finding->triggers,
                                       .trigger_count = finding->trigger_count,
                                       .with_runs = true,
                                       .jobs = &finding->job,
                                       .job_count = removal->job_gone ? 1 : 0,
                                       .reason = reason};
    int64_t revision;
    if (apply_revision(store, &revision, error) != 0 ||
        apply_remove(store, &what, &removal->runs_cancelled, error) != 0)
        return -1;
    return apply_commit(store, options, error);
}

static int remove_once(struct store *store, const char *noun, const char *name, bool job,
                       const struct apply_options *options, struct removal *ret_removal,
                       struct rota_error *error)
{
    struct finding finding = {0};
    struct removal removal = {0};
    int64_t clock_us;
    if (apply_lock(store, options, &clock_us, error) != 0)
        return -1;
    int failed = find(store, noun, name, &finding, &removal, error);
    if (failed == 0) {
        removal.triggers_gone = (int64_t)finding.trigger_count;
        removal.job_gone = job || (!finding.durable && finding.all_triggers == 1);
        failed = removal.job_gone && finding.teller != NULL
                     ? error_set(error, ERROR_REFUSED,
                                 "job \"%s\" is told of the failures of job \"%s\"; take it out "
                                 "of that one's \"on_failure\" first",
                                 removal.job, finding.teller)
                     : lock_due(store, &finding, error);
    }
    if (failed == 0)
        failed = write(store, &finding, options,
                       job                ? "the job was deleted"
                       : removal.job_gone ? "the job was deleted with its last trigger"
                                          : "its trigger was deleted",
                       &removal, error);
    else if (error->sqlstate[0] == '\0') /* otherwise the store has ended the transaction */
        store_rollback(store);
    free(finding.triggers);
    free(finding.teller);
    if (failed == 0)
        *ret_removal = removal;
    else
        removal_free(&removal);
    return failed;
}

static int remove_named(struct store *store, const char *noun, const char *name, bool job,
                        const struct apply_options *options, struct removal *ret_removal,
                        struct rota_error *error)
{
    int failed, attempts = 0;
    apply_ensure_history(store);
    do {
        *error = (struct rota_error){0};
        failed = remove_once(store, noun, name, job, options, ret_removal, error);
    } while (failed != 0 && apply_again(error, &attempts));
    return failed;
}

int remove_trigger(struct store *store, const char *name, const struct apply_options *options,
                   struct removal *ret_removal, struct rota_error *error)
{
    return remove_named(store, "trigger", name, false, options, ret_removal, error);
}

int remove_job(struct store *store, const char *name, const struct apply_options *options,
               struct removal *ret_removal, struct rota_error *error)
{
    return remove_named(store, "job", name, true, options, ret_removal, error);
}
