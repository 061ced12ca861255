/* The connection of a command: see client.h. */
#include "cmd/client.h"

#include "cmd/settings.h"

#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int client_connect(struct client *client, const char *command, const struct settings *settings, struct rota_error *error)
{
    char name[64];
    snprintf(name, sizeof name, "rota %s", command);
    *client = (struct client){.log = {.level = LOG_WARN, .text = true, .fd = STDERR_FILENO}};
    client->url = settings_client_url(settings, error);
    if (client->url == NULL)
        return -1;
    client->schema = settings_text(settings, SETTING_SCHEMA);
    client->base = event_base_new();
    const struct store_config config = {.base = client->base,
                                        .log = &client->log,
                                        .url = client->url,
                                        .schema = client->schema,
                                        .role_name = "client",
                                        .application_name = name,
                                        .options = "-c timezone=UTC -c lock_timeout=5s"};
    client->store = store_new(&config);
    if (store_wait_ready(client->store, NULL, error) == 0)
        return 0;
    client_close(client);
    return -1;
}

int client_open(struct client *client, const char *command, const struct settings *settings, struct rota_error *error)
{
    int version = 0;
    if (client_connect(client, command, settings, error) != 0)
        return -1;
    int failed = store_check_schema(client->store, &version, error);
    if (failed == 0 && version == 0)
        failed = error_set(error, ERROR_REFUSED,
                           "schema \"%s\" is not set up in this database; run `rota migrate` first", client->schema);
    if (failed != 0)
        client_close(client);
    return failed;
}

void client_close(struct client *client)
{
    store_free(client->store);
    if (client->base != NULL)
        event_base_free(client->base);
    free(client->url);
    *client = (struct client){0};
}
