/*
 * Manifests that are applied together: texts, files and directories of them, and what is unique
 * among them all. See manifest.h.
 */
#include "coord/manifest_definition.h"

#include "base/memory.h"
#include "coord/manifest_calendar.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct manifest_set *manifest_set_new(void)
{
    struct manifest_set *set = mem_alloc(sizeof *set);
    set->zones = zone_cache_new();
    return set;
}

static void trigger_free(struct manifest_trigger *trigger)
{
    free(trigger->name);
    free(trigger->description);
    free(trigger->cron);
    free(trigger->calendar_interval);
    free(trigger->daily_from);
    free(trigger->daily_to);
    free(trigger->calendar);
    free(trigger->timezone);
    free(trigger->definition);
}

static void job_free(struct manifest_job *job)
{
    for (size_t i = 0; i < job->trigger_count; i++)
        trigger_free(&job->triggers[i]);
    free(job->triggers);
    free(job->name);
    free(job->description);
    free(job->handler);
    free(job->lane_key);
    free(job->on_failure);
    free(job->rate_key);
    free(job->unique_key);
    free(job->definition);
}

void manifest_set_free(struct manifest_set *set)
{
    if (set == NULL)
        return;
    for (size_t i = 0; i < set->count; i++) {
        struct manifest *manifest = set->manifests[i];
        for (size_t j = 0; j < manifest->job_count; j++)
            job_free(&manifest->jobs[j]);
        for (size_t j = 0; j < manifest->calendar_count; j++)
            manifest_calendar_free(&manifest->calendars[j]);
        free(manifest->jobs);
        free(manifest->calendars);
        free(manifest->source);
        free(manifest->file);
        free(manifest->text);
        free(manifest);
    }
    for (size_t i = 0; i < set->problems.count && i < MANIFEST_PROBLEMS_MAX; i++)
        free(set->problems.lines[i]);
    free(set->manifests);
    zone_cache_free(set->zones);
    free(set);
}

/* A problem that has no place in a text. */
static void file_problem(struct manifest_set *set, char *line)
{
    if (set->problems.count++ < MANIFEST_PROBLEMS_MAX)
        set->problems.lines[set->problems.count - 1] = line;
    else
        free(line);
}

/* The reader's "line L, column C: what" as "FILE:L:C: what". */
static void syntax_problem(struct manifest_set *set, const char *file, const char *message)
{
    int line, column, length = 0;
    if (sscanf(message, "line %d, column %d: %n", &line, &column, &length) == 2 && length > 0)
        file_problem(set, mem_format("%s:%d:%d: %s", file, line, column, message + length));
    else
        file_problem(set, mem_format("%s: %s", file, message));
}

void manifest_add(struct manifest_set *set, const char *file, char *text, size_t length)
{
    struct rota_error error;
    struct manifest *manifest = mem_alloc(sizeof *manifest);
    struct manifest_reader reader = {.set = set, .manifest = manifest};
    manifest->file = mem_string(file);
    manifest->text = text;
    manifest->length = length;
    set->manifests = mem_resize(set->manifests, set->count + 1, sizeof *set->manifests);
    set->manifests[set->count++] = manifest;
    if (length > MANIFEST_SIZE_MAX) {
        file_problem(set, mem_format("%s: larger than %u MiB; divide it into several files", file,
                                     MANIFEST_SIZE_MAX >> 20));
    } else if (json_parse(&reader.json, text, length, &error) != 0) {
        syntax_problem(set, file, error.message);
    } else {
        manifest_read_top(&reader);
        json_free(&reader.json);
    }
}

/* --- files ----------------------------------------------------------------------------------- */

/* Reads to the end, or one byte more than is allowed. 0 or -1 with errno. */
static int read_all(int fd, struct buffer *ret_text)
{
    for (;;) {
        buffer_reserve(ret_text, 65536);
        ssize_t size = read(fd, ret_text->data + ret_text->length, 65536);
        if (size < 0 && errno == EINTR)
            continue;
        if (size <= 0)
            return (int)size;
        ret_text->length += (size_t)size;
        if (ret_text->length > MANIFEST_SIZE_MAX)
            return 0;
    }
}

static void add_file(struct manifest_set *set, const char *path)
{
    bool standard_input = strcmp(path, "-") == 0;
    struct buffer text = {0};
    int fd = standard_input ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || read_all(fd, &text) != 0) {
        file_problem(set, mem_format("%s: cannot be read: %s", path, strerror(errno)));
        buffer_free(&text);
    } else {
        buffer_text(&text);
        manifest_add(set, standard_input ? "<stdin>" : path, text.data, text.length);
    }
    if (fd > STDIN_FILENO)
        close(fd);
}

static int is_manifest(const struct dirent *entry)
{
    size_t length = strlen(entry->d_name);
    return entry->d_name[0] != '.' && length > 5 &&
           strcmp(entry->d_name + length - 5, ".json") == 0;
}

/* By bytes: the same order on every node, whatever its locale. */
static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static void add_directory(struct manifest_set *set, const char *path)
{
    struct dirent **entries;
    int count = scandir(path, &entries, is_manifest, by_name);
    if (count < 0) {
        file_problem(set, mem_format("%s: cannot be read: %s", path, strerror(errno)));
        return;
    }
    for (int i = 0; i < count; i++) {
        char *file = mem_format("%s/%s", path, entries[i]->d_name);
        add_file(set, file);
        free(file);
        free(entries[i]);
    }
    free(entries);
}

void manifest_add_path(struct manifest_set *set, const char *path)
{
    struct stat status;
    if (strcmp(path, "-") != 0 && stat(path, &status) == 0 && S_ISDIR(status.st_mode))
        add_directory(set, path);
    else
        add_file(set, path);
}

/* --- names ----------------------------------------------------------------------------------- */

struct declared {
    const char *name;
    const struct manifest *manifest;
    size_t offset;
    size_t order;
};

static int by_declared_name(const void *a, const void *b)
{
    const struct declared *left = a, *right = b;
    int order = strcmp(left->name, right->name);
    return order != 0 ? order : (left->order > right->order) - (left->order < right->order);
}

static void line_of(const struct declared *declared, int *ret_line)
{
    int column;
    struct json json = {.text = declared->manifest->text, .length = declared->manifest->length};
    struct json_value at = {.raw = {declared->manifest->text + declared->offset, 0}};
    json_position(&json, &at, ret_line, &column);
}

/* All that have a name, of one sort. */
struct names {
    struct declared *all;
    size_t count, capacity;
};

static void add_name(struct names *names, const char *name, const struct manifest *manifest,
                     size_t offset)
{
    if (name == NULL)
        return;
    if (names->count == names->capacity) {
        names->capacity = names->capacity > 0 ? names->capacity * 2 : 64;
        names->all = mem_resize(names->all, names->capacity, sizeof *names->all);
    }
    names->all[names->count] = (struct declared){name, manifest, offset, names->count};
    names->count++;
}

static void find_twins(struct manifest_set *set, const struct names *names, const char *noun)
{
    struct declared *all = names->all;
    if (names->count < 2)
        return;
    qsort(all, names->count, sizeof *all, by_declared_name);
    const struct declared *first = all;
    for (size_t i = 1; i < names->count; i++) {
        if (strcmp(first->name, all[i].name) != 0) {
            first = &all[i];
            continue;
        }
        int line = 0;
        if (set->problems.count < MANIFEST_PROBLEMS_MAX)
            line_of(first, &line);
        manifest_problem_at(
            set, all[i].manifest, all[i].offset,
            "%s \"%.80s\" is declared twice, first at %s:%d; names are unique in the "
            "fleet: rename one",
            noun, all[i].name, first->manifest->file, line);
    }
}

static void check_names(struct manifest_set *set)
{
    struct names jobs = {0}, triggers = {0}, calendars = {0};
    for (size_t i = 0; i < set->count; i++) {
        const struct manifest *manifest = set->manifests[i];
        for (size_t j = 0; j < manifest->calendar_count; j++)
            add_name(&calendars, manifest->calendars[j].name, manifest,
                     manifest->calendars[j].offset);
        for (size_t j = 0; j < manifest->job_count; j++) {
            const struct manifest_job *job = &manifest->jobs[j];
            add_name(&jobs, job->name, manifest, job->offset);
            for (size_t k = 0; k < job->trigger_count; k++)
                add_name(&triggers, job->triggers[k].name, manifest, job->triggers[k].offset);
        }
    }
    find_twins(set, &jobs, "job");
    find_twins(set, &triggers, "trigger");
    find_twins(set, &calendars, "calendar");
    free(jobs.all);
    free(triggers.all);
    free(calendars.all);
}

int manifest_check(struct manifest_set *set)
{
    check_names(set);
    if (set->problems.count > 0)
        return -1;
    for (size_t i = 0; i < set->count; i++) {
        for (size_t j = 0; j < set->manifests[i]->calendar_count; j++)
            manifest_define_calendar(&set->manifests[i]->calendars[j]);
        for (size_t j = 0; j < set->manifests[i]->job_count; j++) {
            struct manifest_job *job = &set->manifests[i]->jobs[j];
            manifest_define_job(job);
            for (size_t k = 0; k < job->trigger_count; k++)
                manifest_define_trigger(&job->triggers[k], job->name);
        }
    }
    return 0;
}
