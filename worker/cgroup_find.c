/*
 * Where the control group of a process is in the file system: its path in the hierarchy from
 * /proc/PID/cgroup, and what part of the hierarchy is mounted where from /proc/PID/mountinfo
 * (proc(5), cgroups(7)).
 */
#include "worker/cgroup.h"

#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

/* Space, tab, newline and backslash are written as \040 and so on. */
static void unescape(char *text)
{
    char *out = text;
    for (const char *at = text; *at != '\0'; out++) {
        if (at[0] == '\\' && strspn(at + 1, "01234567") >= 3) {
            *out = (char)((at[1] - '0') * 64 + (at[2] - '0') * 8 + (at[3] - '0'));
            at += 4;
        } else {
            *out = *at++;
        }
    }
    *out = '\0';
}

/* What comes after "0::", to be freed; NULL: a kernel without version 2. */
static char *read_group(FILE *groups)
{
    char *line = NULL, *found = NULL;
    size_t size = 0;
    while (found == NULL && getline(&line, &size, groups) >= 0) {
        line[strcspn(line, "\n")] = '\0';
        if (strncmp(line, "0::/", 4) == 0)
            found = mem_string(line + 3);
    }
    free(line);
    return found;
}

/* A line of mountinfo: number, parent, device, root, place, options, … - type, source, options. */
static bool read_mount(char *line, char **ret_root, char **ret_place)
{
    char *fields[5], *rest = line;
    const char *type = strstr(line, " - ");
    if (type == NULL || strncmp(type, " - cgroup2 ", 11) != 0)
        return false;
    for (size_t i = 0; i < 5; i++) {
        fields[i] = strsep(&rest, " ");
        if (rest == NULL)
            return false;
    }
    unescape(fields[3]);
    unescape(fields[4]);
    *ret_root = fields[3];
    *ret_place = fields[4];
    return true;
}

/* The rest of the group's path below `root`; NULL: it is not below. */
static const char *below(const char *group, const char *root)
{
    size_t length = strcmp(root, "/") != 0 ? strlen(root) : 0;
    if (strncmp(group, root, length) != 0 || (group[length] != '/' && group[length] != '\0'))
        return NULL;
    return strcmp(group + length, "/") != 0 ? group + length : "";
}

char *cgroup_find(FILE *groups, FILE *mounts, struct rota_error *error)
{
    char *group = read_group(groups), *line = NULL, *found = NULL;
    size_t size = 0;
    bool mounted = false;
    while (group != NULL && found == NULL && getline(&line, &size, mounts) >= 0) {
        char *root, *place;
        if (!read_mount(line, &root, &place))
            continue;
        mounted = true;
        const char *rest = strncmp(group, "/..", 3) != 0 ? below(group, root) : NULL;
        if (rest != NULL)
            found = mem_format("%s%s", place, rest);
    }
    if (group == NULL || !mounted)
        error_set(error, ERROR_REFUSED, "no control groups of version 2 are mounted here");
    else if (found == NULL)
        error_set(error, ERROR_REFUSED,
                  "the control group of the node, %.500s, is not mounted here", group);
    free(line);
    free(group);
    return found;
}
