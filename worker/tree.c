/* Trees of processes: see tree.h. */
#include "worker/tree.h"

#include "base/buffer.h"
#include "base/memory.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FILE_MAX (1024 * 1024) /* of a file in /proc; an environment may be large */

void tree_free(struct tree_list *list)
{
    free(list->pids);
    *list = (struct tree_list){0};
}

static void tree_add(struct tree_list *list, pid_t pid)
{
    if (list->count == list->capacity) {
        list->capacity = list->capacity > 0 ? list->capacity * 2 : 16;
        list->pids = mem_resize(list->pids, list->capacity, sizeof *list->pids);
    }
    list->pids[list->count++] = pid;
}

/* 0, or -1 where the file cannot be opened: the process is gone, or not ours. */
static int tree_read(const char *path, struct buffer *text)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    ssize_t got;
    do {
        got = read(fd, buffer_reserve(text, 4096), 4096);
        if (got > 0)
            text->length += (size_t)got;
    } while (got > 0 && text->length < FILE_MAX);
    close(fd);
    return 0;
}

/* The parent of a process by its stat file ("pid (name) state ppid …"), 0 if it is gone. */
static pid_t tree_parent(const char *pid)
{
    char path[64];
    long parent = 0;
    struct buffer text = {0};
    snprintf(path, sizeof path, "/proc/%.20s/stat", pid);
    if (tree_read(path, &text) == 0) {
        const char *end = strrchr(buffer_text(&text), ')'); /* a name may hold anything */
        if (end != NULL && strlen(end) > 4)
            parent = strtol(end + 4, NULL, 10);
    }
    buffer_free(&text);
    return (pid_t)parent;
}

/* Where the kernel lists no children: every process is asked for its parent. */
static void tree_children_slow(pid_t parent, struct tree_list *list)
{
    DIR *processes = opendir("/proc");
    if (processes == NULL)
        return;
    for (struct dirent *entry; (entry = readdir(processes)) != NULL;)
        if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9' &&
            tree_parent(entry->d_name) == parent)
            tree_add(list, (pid_t)strtol(entry->d_name, NULL, 10));
    closedir(processes);
}

static void tree_add_numbers(struct tree_list *list, const char *text)
{
    for (char *end; *text != '\0'; text = end) {
        long pid = strtol(text, &end, 10);
        if (end == text)
            return;
        if (pid > 0)
            tree_add(list, (pid_t)pid);
    }
}

void tree_children(pid_t parent, struct tree_list *list)
{
    char path[320];
    snprintf(path, sizeof path, "/proc/%d/task", (int)parent);
    if (access("/proc/thread-self/children", R_OK) != 0) {
        tree_children_slow(parent, list);
        return;
    }
    DIR *threads = opendir(path);
    if (threads == NULL)
        return;
    for (struct dirent *entry; (entry = readdir(threads)) != NULL;) {
        if (entry->d_name[0] == '.')
            continue;
        struct buffer text = {0};
        snprintf(path, sizeof path, "/proc/%d/task/%s/children", (int)parent, entry->d_name);
        if (tree_read(path, &text) == 0)
            tree_add_numbers(list, buffer_text(&text));
        buffer_free(&text);
    }
    closedir(threads);
}

void tree_kill(pid_t root)
{
    struct tree_list all = {0};
    tree_add(&all, root);
    for (size_t at = 0; at < all.count; at++)
        tree_children(all.pids[at], &all);
    for (size_t at = 0; at < all.count; at++)
        kill(all.pids[at], SIGKILL);
    tree_free(&all);
}

int tree_variable(pid_t pid, const char *name, char *value, size_t size)
{
    char path[64];
    struct buffer text = {0};
    size_t length = strlen(name);
    snprintf(path, sizeof path, "/proc/%d/environ", (int)pid);
    tree_read(path, &text);
    int found = text.length > 0 ? 0 : -1;
    const char *end = buffer_text(&text) + text.length;
    for (const char *at = text.data; at < end && found == 0; at += strlen(at) + 1) {
        if (strncmp(at, name, length) != 0 || at[length] != '=')
            continue;
        found = 1;
        snprintf(value, size, "%s", at + length + 1);
    }
    buffer_free(&text);
    return found;
}
