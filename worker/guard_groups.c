/* Which control groups the guard has: see guard_groups.h. */
#include "worker/guard_groups.h"

#include "worker/cgroup.h"

#include <string.h>

/* Who holds a limit of the pools. */
static const char *holder(bool group)
{
    return group ? "control group" : "rlimit";
}

static void tell(const struct guard_groups *groups, const struct log *log,
                 const struct cgroup *cgroup)
{
    static const char message[] = "workers have control groups";
    struct cgroup_view view;
    cgroup_view(cgroup, &view);
    if (!groups->limits)
        log_info(log, message, LOG_TEXT("path", view.path), LOG_BOOL("kill", view.kill));
    else
        log_info(log, message, LOG_TEXT("path", view.path), LOG_BOOL("kill", view.kill),
                 LOG_TEXT("memory", holder(view.memory)),
                 LOG_TEXT("processes", holder(view.processes)),
                 LOG_TEXT("why", view.unlimited != NULL ? view.unlimited
                                                        : "the controllers are delegated"));
}

int guard_groups_open(const struct guard_groups *groups, const struct log *log,
                      struct cgroup **ret_cgroup)
{
    struct rota_error error;
    *ret_cgroup = NULL;
    if (strcmp(groups->setting, "off") == 0)
        return 0;
    struct cgroup *cgroup = cgroup_open(groups->setting, log->node, groups->limits, &error);
    if (cgroup != NULL) {
        tell(groups, log, cgroup);
        *ret_cgroup = cgroup;
        return 0;
    }
    if (strcmp(groups->setting, "auto") == 0) {
        log_debug(log, "workers have no control groups", LOG_TEXT("why", error.message));
        return 0;
    }
    log_error(log, "the setting cgroup cannot be met", LOG_TEXT("error", error.message));
    return -1;
}
