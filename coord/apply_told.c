/* Who is told of failures, in an apply: see apply_told.h. */
#include "coord/apply_told.h"

#include "base/memory.h"
#include "store/store.h"

#include <stdlib.h>
#include <string.h>

#define NAMES_MAX 10 /* of a circle, in its message */

/* A job and the one it tells, as it will be. */
struct link {
    const char *name, *source;
    const char *told;           /* NULL: nobody */
    const struct plan_job *job; /* NULL: not declared here */
    bool goes;
    size_t walk; /* the number of the walk that came by; 0: none yet */
};

struct links {
    struct link *all;
    size_t count;
};

int plan_read_told(struct apply_plan *plan, struct store *store, struct rota_error *error)
{
    struct store_params params = {0};
    const char **names = mem_array(plan->job_count, sizeof *names);
    size_t count = 0;
    for (size_t i = 0; i < plan->job_count; i++)
        if (plan->jobs[i].job->on_failure != NULL)
            names[count++] = plan->jobs[i].job->on_failure;
    params_texts(&params, names, count);
    int failed =
        store_wait(store, SQL_MANIFEST_READ_TOLD, &params, STORE_WITHIN, &plan->told_rows, error);
    store_params_free(&params);
    free(names);
    return failed;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(((const struct link *)a)->name, ((const struct link *)b)->name);
}

static struct link *find(const struct links *links, const char *name)
{
    struct link wanted = {.name = name};
    return name == NULL ? NULL
                        : bsearch(&wanted, links->all, links->count, sizeof wanted, compare_names);
}

static struct links make_links(const struct apply_plan *plan)
{
    size_t rows = (size_t)PQntuples(plan->told_rows), count = plan->job_count;
    struct links links = {.all = mem_array(count + rows, sizeof *links.all)};
    for (size_t i = 0; i < count; i++)
        links.all[i] = (struct link){.name = plan->jobs[i].job->name,
                                     .source = plan->jobs[i].manifest->source,
                                     .told = plan->jobs[i].job->on_failure,
                                     .job = &plan->jobs[i]};
    links.count = count;
    qsort(links.all, links.count, sizeof *links.all, compare_names);
    for (size_t i = 0; i < rows; i++) {
        const char *name = row_text(plan->told_rows, (int)i, 0);
        if (find(&links, name) == NULL)
            links.all[count++] = (struct link){.name = name,
                                               .source = row_text(plan->told_rows, (int)i, 1),
                                               .told = row_text(plan->told_rows, (int)i, 2),
                                               .goes = plan_job_goes(plan, name)};
    }
    links.count = count;
    qsort(links.all, links.count, sizeof *links.all, compare_names);
    return links;
}

static void problem(struct apply_plan *plan, const struct link *link, const char *what)
{
    if (link->job != NULL)
        manifest_problem_at(plan->set, link->job->manifest, link->job->job->offset,
                            "job \"%.80s\": %s", link->name, what);
    else
        manifest_problem_at(plan->set, plan->set->manifests[0], 0,
                            "job \"%.80s\" of source \"%.80s\": %s", link->name, link->source,
                            what);
}

static void check_there(struct apply_plan *plan, const struct links *links, const struct link *link)
{
    const struct link *told = find(links, link->told);
    if (link->goes || link->told == NULL || (told != NULL && !told->goes))
        return;
    char *what =
        told == NULL
            ? mem_format("\"on_failure\" names job \"%.80s\", and there is none; declare it, in "
                         "this manifest or before",
                         link->told)
            : mem_format("\"on_failure\" names job \"%.80s\", which is declared no more; declare "
                         "it again, or take it out of \"on_failure\" first",
                         link->told);
    problem(plan, link, what);
    free(what);
}

/* At the first of it that is declared here: without one it would have been there before. */
static void tell_circle(struct apply_plan *plan, const struct links *links, const struct link *at)
{
    struct buffer what = {0};
    const struct link *first = at;
    for (const struct link *next = find(links, at->told); first->job == NULL && next != at;
         next = find(links, next->told))
        first = next;
    buffer_format(&what, "\"on_failure\" leads back to it: \"%.80s\"", first->name);
    const struct link *next = find(links, first->told);
    for (size_t names = 1; next != first && names < NAMES_MAX; names++) {
        buffer_format(&what, " tells \"%.80s\"", next->name);
        next = find(links, next->told);
    }
    buffer_format(&what, "%s tells \"%.80s\"; one of them must not", next != first ? " …" : "",
                  first->name);
    problem(plan, first, buffer_text(&what));
    buffer_free(&what);
}

void plan_check_told(struct apply_plan *plan)
{
    struct links links = make_links(plan);
    for (size_t i = 0; i < links.count; i++)
        check_there(plan, &links, &links.all[i]);
    for (size_t i = 0; i < links.count; i++) {
        struct link *at = &links.all[i];
        while (at != NULL && at->walk == 0 && !at->goes) {
            at->walk = i + 1;
            at = find(&links, at->told);
        }
        if (at != NULL && at->walk == i + 1)
            tell_circle(plan, &links, at);
    }
    free(links.all);
}
