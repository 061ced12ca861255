/* The tables of routes, one a file. */
#ifndef COORD_HTTP_ROUTES_H
#define COORD_HTTP_ROUTES_H

#include "coord/http/web.h"

extern const struct web_route web_health_routes[]; /* health.c */
extern const struct web_route web_task_routes[];   /* task_routes.c */

#endif
