/*
 * What a node is asked to be from elsewhere: drain, stand by, run. The wish is in the database,
 * with a number; it comes with each registration and heartbeat, and is obeyed once.
 */
#include "coord/node.h"

#include <string.h>

static const char payload_head[] = "node ";

static bool is(const char *wish, const char *what)
{
    return strcmp(wish, what) == 0;
}

static void obey(struct node *node, const char *wish)
{
    if (is(wish, "hurry") || (is(wish, "drain") && !node->stop)) {
        node_stop(node, is(wish, "hurry"));
    } else if ((is(wish, "standby") || is(wish, "evict")) && node->state == NODE_RUNNING) {
        node_move(node, NODE_STAND_BY);
        member_resign(node);
    } else if (is(wish, "run") && node->state == NODE_STANDBY) {
        node_move(node, NODE_START);
        wake_look(node);
    }
}

void control_begin(struct node *node, const char *wish, int64_t number)
{
    node->member.wish_number = number;
    node->member.told_standby = wish != NULL && (is(wish, "standby") || is(wish, "evict"));
}

void control_heard(struct node *node, const char *wish, int64_t number)
{
    if (wish == NULL || number == node->member.wish_number)
        return;
    node->member.wish_number = number;
    log_info(&node->log, "asked from elsewhere", LOG_TEXT("wish", wish));
    obey(node, wish);
}

bool control_notified(struct node *node, const char *payload)
{
    size_t head = sizeof payload_head - 1;
    if (strncmp(payload, payload_head, head) != 0)
        return false;
    if (strcmp(payload + head, node->config->node_name) == 0)
        member_beat_soon(node);
    return true;
}
