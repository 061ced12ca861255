/* What a program of the handler `exec` finds in its environment: little, and all of it wanted. */
#include "worker/builtin/exec.h"

#include "worker/guard_mark.h"

#include "base/memory.h"

#include <string.h>

#define SEARCH_PATH "PATH=/usr/local/bin:/usr/bin:/bin" /* where the node itself has none */

static bool is_entry(const char *entry, const char *name, size_t length)
{
    return strncmp(entry, name, length) == 0 && entry[length] == '=';
}

const char *exec_variable(const char *const *environment, const char *name)
{
    size_t length = strlen(name);
    for (; *environment != NULL; environment++)
        if (is_entry(*environment, name, length))
            return *environment + length + 1;
    return NULL;
}

static bool is_kept(const char *entry)
{
    static const char *const names[] = {"PATH", "HOME", "LANG", "TZ", "TMPDIR", GUARD_MARK};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (is_entry(entry, names[i], strlen(names[i])))
            return true;
    return strncmp(entry, "LC_", 3) == 0;
}

const char **exec_environment_kept(char *const *environment)
{
    size_t count = 0, kept = 0;
    while (environment[count] != NULL)
        count++;
    const char **list = mem_array(count + 2, sizeof *list);
    for (size_t i = 0; i < count; i++)
        if (is_kept(environment[i]))
            list[kept++] = environment[i];
    if (exec_variable(list, "PATH") == NULL)
        list[kept++] = SEARCH_PATH;
    return list;
}

static void put_slice(struct buffer *texts, const char *name, struct slice value)
{
    buffer_string(texts, name);
    for (size_t i = 0; i < value.length; i++)
        if (value.data[i] != '\0')
            buffer_char(texts, value.data[i]);
    buffer_char(texts, '\0');
}

static void put_number(struct buffer *texts, const char *name, int64_t value)
{
    buffer_string(texts, name);
    buffer_int(texts, value);
    buffer_char(texts, '\0');
}

/* The variables of the contract, one after another. Returns how many. */
static size_t put_run(struct buffer *texts, const struct protocol_message *message,
                      const char *node)
{
    put_number(texts, "ROTA_RUN_ID=", message->id);
    put_number(texts, "ROTA_FENCE=", message->fence);
    put_number(texts, "ROTA_ATTEMPT=", message->attempt);
    put_slice(texts, "ROTA_JOB=", message->job);
    put_slice(texts, "ROTA_TRIGGER=", message->trigger);
    put_slice(texts, "ROTA_SCHEDULED_TIME=", message->scheduled_time);
    put_slice(texts, "ROTA_FIRE_TIME=", message->fire_time);
    put_slice(texts, "ROTA_RECOVERING=", slice_of(message->recovering ? "true" : "false"));
    put_slice(texts, "ROTA_NODE=", slice_of(node));
    if (message->traceparent.data == NULL)
        return 9;
    put_slice(texts, "TRACEPARENT=", message->traceparent); /* as tools for shells expect it */
    return 10;
}

static bool is_overridden(const char *entry, const struct exec_request *request)
{
    size_t length = strcspn(entry, "=");
    for (size_t i = 0; i < request->environment_count; i++)
        if (is_entry(request->environment[i], entry, length))
            return true;
    return false;
}

char **exec_environment(const char *const *kept, const struct exec_request *request,
                        const struct protocol_message *message, const char *node,
                        struct buffer *texts)
{
    size_t kept_count = 0, count = 0;
    while (kept[kept_count] != NULL)
        kept_count++;
    size_t run_count = put_run(texts, message, node);
    char **list = mem_array(kept_count + run_count + request->environment_count + 1, sizeof *list);
    for (size_t i = 0; i < kept_count; i++)
        if (!is_overridden(kept[i], request))
            list[count++] = (char *)kept[i];
    char *at = texts->data;
    for (size_t i = 0; i < run_count; i++, at += strlen(at) + 1)
        list[count++] = at;
    for (size_t i = 0; i < request->environment_count; i++)
        list[count++] = request->environment[i];
    return list;
}
