/* SIGHUP: see reload.h. What cannot be read changes nothing. */
#include "coord/reload.h"

#include "coord/http/server.h"
#include "coord/metrics.h"
#include "coord/node.h"

static void read_settings(struct node *node)
{
    struct rota_error error = {0};
    enum log_level level, before = log_level(&node->log);
    if (node->config->reload == NULL)
        return;
    if (node->config->reload(node->config->reload_arg, &level, &error) != 0) {
        metrics_reloaded(node, false);
        log_error(&node->log, "settings refused: going on with those from before",
                  LOG_TEXT("error", error.message));
        return;
    }
    metrics_reloaded(node, true);
    if (level > LOG_INFO) /* else it would be the last line one sees, or none */
        log_info(&node->log, "settings read", LOG_TEXT("log_level", log_level_name(level)),
                 LOG_TEXT("before", log_level_name(before)));
    log_set_level(&node->log, level);
    if (level <= LOG_INFO)
        log_info(&node->log, "settings read", LOG_TEXT("log_level", log_level_name(level)),
                 LOG_TEXT("before", log_level_name(before)));
}

void reload_on_signal(evutil_socket_t number, short what, void *arg)
{
    struct node *node = arg;
    (void)number;
    (void)what;
    read_settings(node);
    http_server_reload(node->http);
}
