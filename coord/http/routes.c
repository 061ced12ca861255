/*
 * All routes of the HTTP server, as a list of tables. A path that two rows fit goes to the first:
 * /api/task/info stands before /api/task/:id.
 */
#include "coord/http/routes.h"

const struct web_route *const web_route_tables[] = {
    web_health_routes,
    web_task_routes,
    web_list_routes,
    web_action_routes,
    web_watch_routes,
    web_openapi_routes,
    NULL,
};
