/* The tables of routes, one a file. */
#ifndef COORD_HTTP_ROUTES_H
#define COORD_HTTP_ROUTES_H

#include "coord/http/web.h"

extern const struct web_route web_health_routes[];  /* health.c */
extern const struct web_route web_task_routes[];    /* task_routes.c */
extern const struct web_route web_list_routes[];    /* list_routes.c */
extern const struct web_route web_action_routes[];  /* action_routes.c */
extern const struct web_route web_watch_routes[];   /* watch_routes.c */
extern const struct web_route web_openapi_routes[]; /* openapi.c */

/* openapi_schemas.c: the schemas of answers, each a member of a JSON object; ended by NULL. */
extern const char *const web_openapi_schemas[];

#endif
