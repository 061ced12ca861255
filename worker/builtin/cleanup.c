/*
 * The standard task `task-history-cleanup`: retention of the history, now. It is a statement on the
 * fleet's own database, which no other job can reach by a name; the leader does the same every few
 * seconds, with or without it.
 */
#include "worker/builtin/sql.h"

#include "base/memory.h"

int cleanup_prepare(struct sql *sql, struct builtin *builtin,
                    const struct protocol_message *message, struct rota_error *error)
{
    const struct builtin_settings *settings = &builtin->settings;
    struct sql_request *request = &sql->request;
    if (settings->fleet_url == NULL)
        return error_set(error, ERROR_DATABASE,
                         "this worker was not told of the fleet's database: its node is older");
    if (sql_request_own(request, message->line, settings->lease_us, error) != 0)
        return -1;
    request->database = mem_string("of the fleet");
    request->statement = mem_string(settings->cleanup);
    request->parameter_count = 2;
    request->parameters = mem_array(2, sizeof *request->parameters);
    request->parameters[0] = mem_string(settings->history_rows);
    request->parameters[1] = mem_string(settings->history_age_ms);
    sql->url = mem_string(settings->fleet_url);
    return sql_hosts_new(sql, error);
}
