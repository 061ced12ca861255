/* `rota version`: what this program is and what it speaks. */
#include "cmd/cmd.h"

#include <stdio.h>
#include <string.h>

#define WORKER_PROTOCOL 1

int cmd_version(int argc, char **argv)
{
    static const char *const own[] = {"--json", NULL};
    bool json = false;
    if (cmd_wants_help(argc, argv)) {
        printf("Usage: rota version [--json]\n\nThe version of this program and of the worker "
               "protocol it speaks.\n");
        return 0;
    }
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--json") != 0)
            return cmd_unknown("version", argv[i], own, 0);
        json = json || strcmp(argv[i], "--json") == 0;
    }
    if (json)
        printf("{\"version\":\"%s\",\"worker_protocol\":%d}\n", ROTA_VERSION, WORKER_PROTOCOL);
    else
        printf("rota %s\n", ROTA_VERSION);
    return 0;
}
