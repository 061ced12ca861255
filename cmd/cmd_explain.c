/*
 * `rota explain RUN|TRIGGER`: why it has not run. The statements give the reasons, each as a
 * sentence and as an object; what a calendar excludes is evaluated here, as on a node.
 */
#include "base/buffer.h"
#include "base/instant.h"
#include "base/memory.h"
#include "base/text.h"
#include "cmd/client.h"
#include "coord/definition.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char help_text[] =
    "Usage: rota explain RUN|TRIGGER [--json]\n"
    "\n"
    "Says why a run or a trigger has not run: paused, in the future, its lane full, nobody there\n"
    "to serve it, no slot free, excluded by a calendar, in error; or where it runs, or how it\n"
    "ended. RUN is a number, as `rota get runs` and `rota enqueue` show it.\n"
    "\n"
    "  --json  one JSON document\n"
    "\n";

struct options {
    const char *word;
    int64_t run; /* 0: the word is no number */
    bool json;
};

/* What is known of it, and the reasons so far. */
struct answer {
    char *document; /* JSON object */
    char *headline;
    char *job;     /* NULL: deleted */
    char *handler; /* NULL: it does not wait for a node */
    bool has_lane;
    int64_t lane;
    int64_t due_us;
    bool is_due;
    int32_t trigger; /* its id; 0: it is a run */
    int64_t now_us;  /* of the database */
    struct buffer reasons, lines;
};

static void answer_free(struct answer *answer)
{
    free(answer->document);
    free(answer->headline);
    free(answer->job);
    free(answer->handler);
    buffer_free(&answer->reasons);
    buffer_free(&answer->lines);
}

static void add(struct answer *answer, const char *facts, const char *sentence)
{
    if (answer->reasons.length > 0)
        buffer_char(&answer->reasons, ',');
    buffer_append(&answer->reasons, facts, strlen(facts) - 1); /* an object: into it goes */
    buffer_string(&answer->reasons, ",\"text\":");
    buffer_json(&answer->reasons, sentence, strlen(sentence));
    buffer_char(&answer->reasons, '}');
    buffer_format(&answer->lines, "- %s\n", sentence);
}

static void add_rows(struct answer *answer, const PGresult *result, int column)
{
    for (int row = 0; row < PQntuples(result); row++)
        if (!row_null(result, row, column))
            add(answer, row_text(result, row, column), row_text(result, row, column + 1));
}

/* ---- the run or trigger itself ---- */

/* Columns as explain_run.sql and explain_trigger.sql list them. *ret_found: false, there is none.
 */
static int look(struct client *client, enum statement_id statement,
                const struct store_params *params, struct answer *answer, bool *ret_found,
                struct rota_error *error)
{
    PGresult *result;
    if (store_wait(client->store, statement, params, 0, &result, error) != 0)
        return -1;
    *ret_found = PQntuples(result) > 0;
    if (*ret_found) {
        answer->document = mem_string(row_text(result, 0, 0));
        answer->headline = mem_string(row_text(result, 0, 1));
        answer->job = mem_string(row_text(result, 0, 2));
        answer->handler = mem_string(row_text(result, 0, 3));
        answer->has_lane = !row_null(result, 0, 4);
        answer->lane = answer->has_lane ? row_int64(result, 0, 4) : 0;
        answer->due_us = row_time(result, 0, 5);
        answer->is_due = row_bool(result, 0, 6);
        answer->trigger = statement == SQL_EXPLAIN_TRIGGER ? row_int32(result, 0, 9) : 0;
        answer->now_us = answer->trigger != 0 ? row_time(result, 0, 10) : 0;
        add_rows(answer, result, 7);
    }
    PQclear(result);
    return 0;
}

/* A trigger may be called by a number, too. */
static int find(struct client *client, const struct options *options, struct answer *answer,
                struct rota_error *error)
{
    bool found = false;
    int failed = 0;
    struct store_params run = {0}, trigger = {0};
    params_int64(&run, options->run);
    params_text(&trigger, options->word);
    if (options->run > 0)
        failed = look(client, SQL_EXPLAIN_RUN, &run, answer, &found, error);
    if (failed == 0 && !found)
        failed = look(client, SQL_EXPLAIN_TRIGGER, &trigger, answer, &found, error);
    store_params_free(&run);
    store_params_free(&trigger);
    if (failed != 0 || found)
        return failed;
    if (options->run > 0)
        return error_set(error, ERROR_NOT_FOUND,
                         "there is no run %s: it was never queued, or is no longer in the history",
                         options->word);
    return client_unknown(client, "trigger", options->word, error);
}

/* ---- what keeps it ---- */

static int ask(struct client *client, enum statement_id statement, struct store_params *params,
               struct answer *answer, struct rota_error *error)
{
    PGresult *result;
    int failed = store_wait(client->store, statement, params, 0, &result, error);
    store_params_free(params);
    if (failed != 0)
        return -1;
    add_rows(answer, result, 0);
    PQclear(result);
    return 0;
}

static int ask_pause(struct client *client, const struct options *options, struct answer *answer,
                     struct rota_error *error)
{
    struct store_params params = {0};
    if (answer->job == NULL || answer->handler == NULL)
        return 0;
    params_text(&params, answer->job);
    params_text(&params, answer->trigger != 0 ? options->word : NULL);
    return ask(client, SQL_EXPLAIN_PAUSE, &params, answer, error);
}

static int ask_lane(struct client *client, struct answer *answer, struct rota_error *error)
{
    struct store_params params = {0};
    if (!answer->has_lane)
        return 0;
    params_int64(&params, answer->lane);
    params_time(&params, answer->due_us);
    return ask(client, SQL_EXPLAIN_LANE, &params, answer, error);
}

static int ask_nodes(struct client *client, struct answer *answer, struct rota_error *error)
{
    struct store_params params = {0};
    if (answer->handler == NULL)
        return 0;
    params_text(&params, answer->handler);
    params_bool(&params, answer->is_due);
    params_time(&params, answer->due_us);
    return ask(client, SQL_EXPLAIN_NODES, &params, answer, error);
}

/* ---- calendars ---- */

static void add_unevaluable(struct answer *answer, const struct trigger *trigger)
{
    struct buffer facts = {0}, said = {0};
    buffer_string(&facts, "{\"reason\":\"unevaluable\",\"error\":");
    buffer_json(&facts, trigger->error, strlen(trigger->error));
    buffer_char(&facts, '}');
    buffer_format(&said, "on this machine its definition cannot be evaluated: %s", trigger->error);
    add(answer, buffer_text(&facts), buffer_text(&said));
    buffer_free(&facts);
    buffer_free(&said);
}

static void add_calendar(struct answer *answer, const char *calendar, int64_t excluded_us,
                         int64_t next_us, int64_t count)
{
    struct buffer facts = {0}, said = {0};
    char first[TIME_TEXT_SIZE], next[TIME_TEXT_SIZE] = "";
    buffer_string(&facts, "{\"reason\":\"calendar\",\"calendar\":");
    buffer_json(&facts, calendar, strlen(calendar));
    buffer_format(&facts, ",\"excluded_at\":\"%s\",", instant_format(excluded_us, first));
    buffer_format(&said, "calendar \"%s\" excludes %s", calendar, first);
    if (next_us == SCHEDULE_NONE) {
        buffer_string(&facts, "\"until\":null}");
        buffer_string(&said, " and all occurrences after it");
    } else {
        buffer_format(&facts, "\"excluded\":%lld,\"until\":\"%s\"}", (long long)count,
                      instant_format(next_us, next));
        if (count > 1)
            buffer_format(&said, " and %lld more", (long long)count - 1);
        buffer_format(&said, ", until %s", next);
    }
    add(answer, buffer_text(&facts), buffer_text(&said));
    buffer_free(&facts);
    buffer_free(&said);
}

/* What would occur next without its calendar, beside what does. */
static void compare(struct answer *answer, const struct trigger *trigger, const char *calendar)
{
    int64_t now = answer->now_us;
    int64_t next = schedule_next(trigger->schedule, now);
    schedule_set_calendar(trigger->schedule, NULL);
    int64_t excluded = schedule_next(trigger->schedule, now);
    if (excluded < next)
        add_calendar(answer, calendar, excluded, next,
                     next != SCHEDULE_NONE ? schedule_count(trigger->schedule, now, next - 1) : 0);
}

static int ask_calendar(struct client *client, struct answer *answer, struct rota_error *error)
{
    struct store_params params = {0};
    PGresult *result;
    if (answer->trigger == 0 || answer->handler == NULL)
        return 0;
    params_int32s(&params, &answer->trigger, 1);
    int failed = store_wait(client->store, SQL_DEFINITION_LOAD, &params, 0, &result, error);
    store_params_free(&params);
    if (failed != 0)
        return -1;
    if (PQntuples(result) > 0) {
        struct zone_cache *zones = zone_cache_new();
        struct definitions *definitions = definitions_new(zones, MISFIRE_THRESHOLD_US);
        struct trigger *trigger = definitions_read(definitions, result, 0);
        if (trigger->schedule == NULL)
            add_unevaluable(answer, trigger);
        else if (!row_null(result, 0, 24))
            compare(answer, trigger, row_text(result, 0, 24));
        trigger_unref(trigger);
        definitions_free(definitions);
        zone_cache_free(zones);
    }
    PQclear(result);
    return 0;
}

/* ---- */

static void print(const struct options *options, struct answer *answer)
{
    if (options->json)
        printf("%.*s,\"reasons\":[%s]}\n", (int)strlen(answer->document) - 1, answer->document,
               buffer_text(&answer->reasons));
    else
        printf("%s\n%s", answer->headline, buffer_text(&answer->lines));
}

static int run(struct client *client, void *arg, struct rota_error *error)
{
    const struct options *options = arg;
    struct answer answer = {0};
    int failed = find(client, options, &answer, error);
    if (failed == 0)
        failed = ask_pause(client, options, &answer, error);
    if (failed == 0)
        failed = ask_lane(client, &answer, error);
    if (failed == 0)
        failed = ask_nodes(client, &answer, error);
    if (failed == 0)
        failed = ask_calendar(client, &answer, error);
    if (failed == 0)
        print(options, &answer);
    answer_free(&answer);
    return failed;
}

static int take(int argc, char **argv, int *i, void *arg, struct rota_error *error)
{
    struct options *options = arg;
    (void)argc;
    (void)error;
    return strcmp(argv[*i], "--json") == 0 ? options->json = true : 0;
}

static int word(const char *word, void *arg, struct rota_error *error)
{
    struct options *options = arg;
    if (options->word != NULL)
        return error_set(error, ERROR_USAGE, "one at a time: \"%s\" is a second one", word);
    options->word = word;
    if (text_int64(word, strlen(word), &options->run) != 0)
        options->run = 0;
    return 0;
}

static int check(void *arg, struct rota_error *error)
{
    const struct options *options = arg;
    if (options->word == NULL || options->word[0] == '\0')
        return error_set(error, ERROR_USAGE, "what? Give the number of a run or a trigger's name");
    return 0;
}

int cmd_explain(int argc, char **argv)
{
    static const char *const own[] = {"--json", NULL};
    static const struct client_command command = {.name = "explain",
                                                  .help = help_text,
                                                  .own = own,
                                                  .take = take,
                                                  .word = word,
                                                  .check = check,
                                                  .run = run};
    struct options options = {0};
    return client_main(&command, &options, argc, argv);
}
