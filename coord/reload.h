/* The settings that may change while a node runs are read again on SIGHUP. */
#ifndef COORD_RELOAD_H
#define COORD_RELOAD_H

#include <event2/util.h>

void reload_on_signal(evutil_socket_t number, short what, void *node);

#endif
