/*
 * The names a zoneinfo directory offers, read only to suggest one where a name is unknown. Limits
 * keep a strange directory from costing more than the suggestion is worth.
 */
#include "base/memory.h"
#include "base/text.h"
#include "coord/schedule/zone_table.h"

#include <ctype.h>
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#define NAMES_MAX 2000
#define DEPTH_MAX 3 /* America/Argentina/Salta */

static void add_name(struct zone_names *names, const char *name)
{
    if (names->count == names->capacity) {
        names->capacity = names->capacity > 0 ? names->capacity * 2 : 256;
        names->names = mem_resize(names->names, names->capacity, sizeof *names->names);
    }
    names->names[names->count++] = mem_string(name);
}

/* `below` is "" or the part of the name so far, with its slash. */
static void read_directory(struct zone_names *names, const char *directory, const char *below,
                           int depth)
{
    char *path = mem_format("%s/%s", directory, below);
    DIR *listing = opendir(path);
    struct dirent *entry;
    while (listing != NULL && names->count < NAMES_MAX && (entry = readdir(listing)) != NULL) {
        struct stat status;
        /* Zones and their folders begin with a capital letter and have no dot; what else lies
         * there (tables, posix/, right/) does not. */
        if (!isupper((unsigned char)entry->d_name[0]) || strchr(entry->d_name, '.') != NULL)
            continue;
        char *name = mem_format("%s%s", below, entry->d_name);
        char *full = mem_format("%s/%s", directory, name);
        char *deeper = mem_format("%s/", name);
        if (strlen(name) > ZONE_NAME_MAX || stat(full, &status) != 0)
            status.st_mode = 0;
        if (S_ISREG(status.st_mode))
            add_name(names, name);
        else if (S_ISDIR(status.st_mode) && depth < DEPTH_MAX)
            read_directory(names, directory, deeper, depth + 1);
        free(name);
        free(full);
        free(deeper);
    }
    if (listing != NULL)
        closedir(listing);
    free(path);
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

void zone_names_read(struct zone_names *names, const char *directory)
{
    read_directory(names, directory, "", 1);
    /* Sorted, so that the suggestion does not depend on the order of the file system. */
    if (names->count > 0)
        qsort(names->names, names->count, sizeof *names->names, compare_names);
}

void zone_names_free(struct zone_names *names)
{
    for (size_t i = 0; i < names->count; i++)
        free(names->names[i]);
    free(names->names);
    *names = (struct zone_names){0};
}

/* Bytes before the last part of a name, with the slash. */
static size_t area_length(const char *name)
{
    const char *slash = strrchr(name, '/');
    return slash != NULL ? (size_t)(slash - name) + 1 : 0;
}

const char *zone_names_nearest(const struct zone_names *names, const char *name)
{
    const char *same_area[NAMES_MAX];
    size_t count = 0, area = area_length(name);
    for (size_t i = 0; i < names->count; i++)
        if (strcasecmp(names->names[i], name) == 0)
            return names->names[i];
    for (size_t i = 0; i < names->count; i++) {
        const char *candidate = names->names[i];
        size_t candidate_area = area_length(candidate);
        /* The right city in a wrong area or in none: "Berlin", "Europa/Berlin". */
        if (candidate_area > 0 && strcasecmp(candidate + candidate_area, name + area) == 0)
            return candidate;
        if (candidate_area == area && strncasecmp(candidate, name, area) == 0)
            same_area[count++] = candidate;
    }
    return text_nearest(name, same_area, count);
}
