/* Calendars in an apply: see apply_calendar.h. */
#include "coord/apply_calendar.h"

#include "base/memory.h"
#include "base/text.h"
#include "store/row.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* A change of the others changes nothing about when triggers occur. */
static const char *const meaningful_keys[] = {"dates", "annual",   "weekly", "daily",
                                              "cron",  "timezone", "base",   NULL};

/* --- what there is and what is declared ------------------------------------------------------ */

static int compare_names(const void *a, const void *b)
{
    return strcmp(((const struct plan_calendar *)a)->name, ((const struct plan_calendar *)b)->name);
}

struct plan_calendar *plan_find_calendar(const struct apply_plan *plan, const char *name)
{
    struct plan_calendar wanted = {.name = name};
    if (name == NULL || plan->calendar_count == 0)
        return NULL;
    return bsearch(&wanted, plan->calendars, plan->calendar_count, sizeof wanted, compare_names);
}

static const struct manifest *manifest_of(const struct manifest_set *set, const char *source)
{
    for (size_t i = 0; i < set->count; i++)
        if (strcmp(set->manifests[i]->source, source) == 0)
            return set->manifests[i];
    return NULL;
}

static bool same_text(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

static void declare(struct apply_plan *plan, struct plan_calendar *calendar,
                    const struct manifest *manifest, const struct manifest_calendar *declared)
{
    if (calendar->was != NULL && strcmp(calendar->source, manifest->source) != 0) {
        manifest_problem_at(plan->set, manifest, declared->offset,
                            "calendar \"%.80s\" belongs to source \"%.80s\", this manifest's is "
                            "\"%.80s\"; rename the calendar, or remove it there first",
                            declared->name, calendar->source, manifest->source);
        return;
    }
    bool same_base = same_text(calendar->base, declared->base); /* by hand it may be another */
    calendar->manifest = manifest;
    calendar->declared = declared;
    calendar->name = declared->name;
    calendar->source = manifest->source;
    calendar->base = declared->base;
    calendar->changed =
        calendar->was == NULL || !same_base || strcmp(calendar->was, declared->definition) != 0;
    if (calendar->changed)
        manifest_compare(&calendar->differences, calendar->was != NULL ? calendar->was : "{}",
                         declared->definition);
    calendar->affected = calendar->was != NULL &&
                         (!same_base || manifest_differs(&calendar->differences, meaningful_keys));
}

/* Those of the database are sorted; declared ones that are not among them are put behind. */
static void declare_all(struct apply_plan *plan)
{
    size_t found = plan->calendar_count;
    for (size_t i = 0; i < plan->set->count; i++) {
        const struct manifest *manifest = plan->set->manifests[i];
        for (size_t k = 0; k < manifest->calendar_count; k++) {
            struct plan_calendar wanted = {.name = manifest->calendars[k].name};
            struct plan_calendar *calendar =
                found > 0 ? bsearch(&wanted, plan->calendars, found, sizeof wanted, compare_names)
                          : NULL;
            if (calendar == NULL)
                calendar = &plan->calendars[plan->calendar_count++];
            calendar->name = wanted.name;
            declare(plan, calendar, manifest, &manifest->calendars[k]);
        }
    }
    if (plan->calendar_count > 1)
        qsort(plan->calendars, plan->calendar_count, sizeof *plan->calendars, compare_names);
}

/* --- stacks ---------------------------------------------------------------------------------- */

static int fail(struct plan_calendar *calendar, const char *message)
{
    free(calendar->error);
    calendar->error = mem_string(message);
    return -1;
}

/* Evaluates it with what it will stand on. 0, or -1 with its error. */
static int make(struct apply_plan *plan, struct plan_calendar *calendar)
{
    struct rota_error error = {0};
    struct plan_calendar *base = plan_find_calendar(plan, calendar->base);
    if (calendar->made)
        return calendar->calendar != NULL ? 0 : -1;
    if (calendar->making)
        return -1; /* told as a circle */
    calendar->making = true;
    int failed = base != NULL ? make(plan, base) : 0;
    calendar->making = false;
    calendar->made = true;
    if (failed != 0)
        return fail(calendar, base->error != NULL ? base->error : "it stands on itself");
    struct calendar *below = base != NULL ? base->calendar : NULL;
    if (calendar->declared != NULL)
        calendar->calendar =
            manifest_calendar_new(calendar->declared, below, plan->set->zones, &error);
    else
        calendar->calendar =
            manifest_calendar_parse(calendar->name, calendar->was, below, plan->set->zones, &error);
    return calendar->calendar != NULL ? 0 : fail(calendar, error.message);
}

/* "did you mean", but not the calendar that asks. To be freed. */
static char *suggestion(const struct apply_plan *plan, const char *name, const char *own)
{
    size_t count = 0;
    const char **names = mem_array(plan->calendar_count, sizeof *names);
    for (size_t i = 0; i < plan->calendar_count; i++)
        if (!plan->calendars[i].goes && (own == NULL || strcmp(plan->calendars[i].name, own) != 0))
            names[count++] = plan->calendars[i].name;
    const char *nearest = count > 0 ? text_nearest(name, names, count) : NULL;
    char *text = nearest != NULL ? mem_format("; did you mean \"%.80s\"?", nearest)
                                 : mem_string("; declare it under \"calendars\"");
    free(names);
    return text;
}

/* False with a problem where a calendar is named that will not be there. */
static bool check_name(struct apply_plan *plan, const struct manifest *manifest, size_t offset,
                       const char *what, const char *key, const char *name, const char *own)
{
    const struct plan_calendar *calendar = plan_find_calendar(plan, name);
    if (calendar != NULL && !calendar->goes)
        return true;
    if (plan->set->problems.count >= MANIFEST_PROBLEMS_MAX) {
        plan->set->problems.count++;
        return false;
    }
    if (calendar != NULL) {
        manifest_problem_at(plan->set, manifest, offset,
                            "%s: \"%s\" names \"%.80s\", which is declared no more and goes with "
                            "--prune; declare it again, or name another",
                            what, key, name);
        return false;
    }
    char *nearest = suggestion(plan, name, own);
    manifest_problem_at(plan->set, manifest, offset,
                        "%s: \"%s\" names \"%.80s\", which is no calendar of these manifests or of "
                        "the database%s",
                        what, key, name, nearest);
    free(nearest);
    return false;
}

/* The chain of bases ends. */
static bool is_circle(const struct apply_plan *plan, const struct plan_calendar *calendar)
{
    const struct plan_calendar *at = calendar;
    for (size_t i = 0; at != NULL; i++) {
        at = plan_find_calendar(plan, at->base);
        if (at == calendar || i > plan->calendar_count)
            return at != NULL;
    }
    return false;
}

/* What it stands on is wrong, and declared here, too. */
static bool is_told(const struct apply_plan *plan, const struct plan_calendar *calendar)
{
    const struct plan_calendar *base = plan_find_calendar(plan, calendar->base);
    return base != NULL && base->declared != NULL && base->error != NULL;
}

static void check_declared(struct apply_plan *plan, struct plan_calendar *calendar)
{
    char *what = mem_format("calendar \"%.80s\"", calendar->name);
    size_t offset = calendar->declared->base_offset;
    if (calendar->base == NULL) {
        make(plan, calendar); /* what could be wrong was told when it was read */
    } else if (!check_name(plan, calendar->manifest, offset, what, "base", calendar->base,
                           calendar->name)) {
        calendar->made = true;
        fail(calendar, "its base is missing");
    } else if (is_circle(plan, calendar)) {
        manifest_problem_at(plan->set, calendar->manifest, offset,
                            "%s would stand on itself by its base \"%.80s\"; a calendar may stand "
                            "on others, but not in a circle",
                            what, calendar->base);
        calendar->made = true;
        fail(calendar, "it stands on itself");
    } else if (make(plan, calendar) != 0 && !is_told(plan, calendar)) {
        manifest_problem_at(plan->set, calendar->manifest, offset, "%s: %.600s", what,
                            calendar->error);
    }
    free(what);
}

/* One of these manifests that it stands on and that changes. NULL: none, or it leads in a circle.
 */
static const struct plan_calendar *changed_below(const struct apply_plan *plan,
                                                 const struct plan_calendar *calendar)
{
    const struct plan_calendar *at = plan_find_calendar(plan, calendar->base);
    for (size_t i = 0; at != NULL && i < plan->calendar_count; i++) {
        if (at->affected && at->declared != NULL)
            return at;
        at = plan_find_calendar(plan, at->base);
    }
    return NULL;
}

/* Not declared here, but it stands on one that is: what was right must not become wrong by that.
 * One that is wrong by itself, as only rows written by hand are, stays as it is. */
static void check_above(struct apply_plan *plan, struct plan_calendar *calendar,
                        const struct plan_calendar *below)
{
    struct rota_error ignored;
    calendar->affected = true;
    if (make(plan, calendar) == 0 || below->error != NULL)
        return;
    struct calendar *alone =
        manifest_calendar_parse(calendar->name, calendar->was, NULL, plan->set->zones, &ignored);
    if (alone != NULL)
        manifest_problem_at(
            plan->set, below->manifest, below->declared->offset,
            "calendar \"%.80s\": \"%.80s\" of source \"%.80s\" stands on it and could "
            "not be evaluated any more: %.600s",
            below->name, calendar->name, calendar->source, calendar->error);
    calendar_unref(alone);
}

static void check_base_stays(struct apply_plan *plan, const struct plan_calendar *calendar)
{
    const struct plan_calendar *base = plan_find_calendar(plan, calendar->base);
    if (base != NULL && base->goes)
        manifest_problem_at(plan->set, manifest_of(plan->set, base->source), 0,
                            "calendar \"%.80s\" is declared no more, but calendar \"%.80s\" of "
                            "source \"%.80s\" stands on it; declare it again, or take it out there "
                            "first",
                            base->name, calendar->name, calendar->source);
}

static void check_stacks(struct apply_plan *plan)
{
    for (size_t i = 0; i < plan->calendar_count; i++)
        if (plan->calendars[i].declared != NULL)
            check_declared(plan, &plan->calendars[i]);
    for (size_t i = 0; i < plan->calendar_count; i++) {
        struct plan_calendar *calendar = &plan->calendars[i];
        const struct plan_calendar *below = calendar->goes ? NULL : changed_below(plan, calendar);
        if (below != NULL && calendar->declared == NULL)
            check_above(plan, calendar, below);
        else if (below != NULL)
            calendar->affected = calendar->was != NULL;
        if (!calendar->goes && calendar->declared == NULL)
            check_base_stays(plan, calendar);
    }
}

void plan_take_calendars(struct apply_plan *plan, PGresult *rows)
{
    size_t most = (size_t)PQntuples(rows);
    plan->calendar_rows = rows;
    for (size_t i = 0; i < plan->set->count; i++)
        most += plan->set->manifests[i]->calendar_count;
    plan->calendars = mem_array(most, sizeof *plan->calendars);
    for (int i = 0; i < PQntuples(rows); i++)
        plan->calendars[plan->calendar_count++] = (struct plan_calendar){
            .name = row_text(rows, i, 0),
            .source = row_text(rows, i, 1),
            .base = row_text(rows, i, 2),
            .was = row_text(rows, i, 3),
        };
    if (plan->calendar_count > 1)
        qsort(plan->calendars, plan->calendar_count, sizeof *plan->calendars, compare_names);
    declare_all(plan);
    for (size_t i = 0; i < plan->calendar_count; i++) {
        struct plan_calendar *calendar = &plan->calendars[i];
        calendar->goes = plan->options->prune && calendar->declared == NULL &&
                         manifest_of(plan->set, calendar->source) != NULL;
        plan->anything |= calendar->changed || calendar->goes;
    }
    check_stacks(plan);
}

const char **plan_calendars_in_motion(const struct apply_plan *plan, size_t *ret_count)
{
    size_t count = 0;
    const char **names = mem_array(plan->calendar_count, sizeof *names);
    for (size_t i = 0; i < plan->calendar_count; i++)
        if (plan->calendars[i].affected || plan->calendars[i].goes)
            names[count++] = plan->calendars[i].name;
    *ret_count = count;
    return names;
}

/* --- their users ----------------------------------------------------------------------------- */

static void check_planned(struct apply_plan *plan, const struct plan_trigger *planned)
{
    const struct manifest_trigger *trigger = planned->trigger;
    const struct manifest *manifest = planned->job->manifest;
    if (trigger->calendar == NULL)
        return;
    char *what =
        mem_format("job \"%.80s\", trigger \"%.80s\"", planned->job->job->name, trigger->name);
    if (check_name(plan, manifest, trigger->calendar_offset, what, "calendar", trigger->calendar,
                   NULL)) {
        struct plan_calendar *calendar = plan_find_calendar(plan, trigger->calendar);
        bool broken = (planned->changed || planned->reread) && make(plan, calendar) != 0;
        if (broken && planned->changed && calendar->declared == NULL)
            manifest_problem_at(plan->set, manifest, trigger->calendar_offset,
                                "%s: calendar \"%.80s\" of source \"%.80s\" cannot be evaluated: "
                                "%.600s",
                                what, calendar->name, calendar->source, calendar->error);
    }
    free(what);
}

static void check_found(struct apply_plan *plan, const struct found_trigger *found)
{
    const struct plan_calendar *calendar = plan_find_calendar(plan, found->calendar);
    if (!found->declared || found->planned != NULL || calendar == NULL || !calendar->goes)
        return;
    manifest_problem_at(plan->set, manifest_of(plan->set, calendar->source), 0,
                        "calendar \"%.80s\" is declared no more, but trigger \"%.80s\" of job "
                        "\"%.80s\" (source \"%.80s\") uses it; declare it again, or take it out "
                        "there first",
                        calendar->name, found->name, found->job, found->source);
}

void plan_check_calendars(struct apply_plan *plan)
{
    for (size_t i = 0; i < plan->trigger_count; i++)
        check_planned(plan, &plan->triggers[i]);
    for (size_t i = 0; i < plan->found_trigger_count; i++)
        check_found(plan, &plan->found_triggers[i]);
    plan_find_moves(plan);
}

void plan_free_calendars(struct apply_plan *plan)
{
    for (size_t i = 0; i < plan->calendar_count; i++) {
        calendar_unref(plan->calendars[i].calendar);
        free(plan->calendars[i].error);
        manifest_differences_free(&plan->calendars[i].differences);
    }
    free(plan->calendars);
    PQclear(plan->calendar_rows);
}
