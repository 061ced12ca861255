/* Who PostgreSQL runs as: see account.h. */
#include "cmd/account.h"

#include "base/memory.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

int account_find(struct account *ret_account, struct rota_error *error)
{
    uid_t self = geteuid();
    const struct passwd *user = self != 0 ? getpwuid(self) : getpwnam("postgres");
    if (user == NULL && self == 0)
        user = getpwnam("nobody");
    if (user == NULL && self == 0)
        return error_set(error, ERROR_REFUSED,
                         "PostgreSQL never runs as root, and neither the user postgres nor nobody "
                         "exists: `useradd --system postgres`, or start rota as another user");
    *ret_account = (struct account){.uid = self, .gid = getegid(), .other = self == 0};
    if (user != NULL) {
        ret_account->uid = user->pw_uid;
        ret_account->gid = user->pw_gid;
    }
    snprintf(ret_account->name, sizeof ret_account->name, "%s",
             user != NULL ? user->pw_name : "this user");
    return 0;
}

int account_become(const struct account *account)
{
    if (!account->other)
        return 0;
    if (initgroups(account->name, account->gid) != 0 ||
        setresgid(account->gid, account->gid, account->gid) != 0 ||
        setresuid(account->uid, account->uid, account->uid) != 0)
        return -1;
    return 0;
}

/* In a forked child: the exit status says which parent cannot be searched, 0 none. */
static int first_unreachable(const struct account *account, const char *path)
{
    char *prefix = mem_string(path);
    int depth = 1, status = 0;
    if (account_become(account) != 0)
        return 255;
    for (char *slash = prefix; status == 0 && slash != NULL; depth++) {
        slash = strchr(slash + 1, '/');
        if (slash != NULL)
            *slash = '\0';
        if (access(prefix, X_OK) != 0)
            status = depth < 254 ? depth : 254;
        if (slash != NULL)
            *slash = '/';
    }
    free(prefix);
    return status;
}

static size_t prefix_length(const char *path, int depth)
{
    const char *at = path;
    while (depth-- > 0 && at != NULL)
        at = strchr(at + 1, '/');
    return at != NULL ? (size_t)(at - path) : strlen(path);
}

int account_can_reach(const struct account *account, const char *path, struct rota_error *error)
{
    int status;
    pid_t pid;
    if (!account->other)
        return 0;
    pid = fork();
    if (pid == 0)
        _exit(first_unreachable(account, path));
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (pid < 0)
        return error_set(error, ERROR_REFUSED, "cannot start a process: %s", strerror(errno));
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 0;
    if (!WIFEXITED(status) || WEXITSTATUS(status) == 255)
        return error_set(error, ERROR_REFUSED,
                         "cannot become the user %s: rota runs as root "
                         "without the right to change users; start it as an ordinary user",
                         account->name);
    size_t length = prefix_length(path, WEXITSTATUS(status));
    return error_set(error, ERROR_REFUSED,
                     "the user %s, as whom PostgreSQL runs, may not enter %.*s: `chmod o+x %.*s`, "
                     "or choose another directory with --data",
                     account->name, (int)length, path, (int)length, path);
}
