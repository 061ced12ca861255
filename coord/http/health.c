/* /healthz and /readyz: from what the coordinator last said, without the database. */
#include "coord/http/routes.h"

#include "base/clock.h"
#include "coord/http/inside.h"

#include <stdio.h>
#include <string.h>

#define STUCK_US (15 * US_PER_SECOND) /* the coordinator beats every few seconds: it hangs */

static const char stuck[] = "the coordinator's loop does not turn";

/* NULL: all is well. */
static const char *reason(struct http_server *server, bool readiness, char text[200])
{
    const char *why = NULL;
    pthread_mutex_lock(&server->lock);
    if (clock_monotonic_us() - server->beaten_us >= STUCK_US) {
        why = stuck;
    } else if (readiness && !server->ready) {
        memcpy(text, server->reason, 200);
        why = text;
    }
    pthread_mutex_unlock(&server->lock);
    return why;
}

static void answer(struct web_request *request, bool readiness, const char *well)
{
    char text[200], line[208];
    const char *why = reason(web_request_server(request), readiness, text);
    snprintf(line, sizeof line, "%s\n", why != NULL ? why : well);
    web_reply(request, why != NULL ? 503 : 200, "text/plain; charset=utf-8", line, strlen(line));
}

static void healthz(struct web_request *request)
{
    answer(request, false, "ok");
}

static void readyz(struct web_request *request)
{
    answer(request, true, "ready");
}

const struct web_route web_health_routes[] = {
    {"GET", "/healthz", WEB_PUBLIC, healthz, "200 while the coordinator's loop turns",
     .type = "text/plain", .lenient = true},
    {"GET", "/readyz", WEB_PUBLIC, readyz,
     "200 when the node is running and ready for work; else 503 with the reason",
     .type = "text/plain", .lenient = true},
    {0},
};
