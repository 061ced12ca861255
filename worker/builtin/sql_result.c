/*
 * What a statement of the handler `sql` gives: how many rows, the first of them as JSON, or what
 * the server had against it. Rows come one by one and only what the history takes is kept, so a
 * result may be of any size.
 */
#include "worker/builtin/sql.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

#define SLACK_US (100 * US_PER_MS) /* between the server's clock of a statement and ours */

#define TEXT_MAX 1000 /* bytes of what the server says, of each kind */

/* Of PostgreSQL's catalogue, where they never change. */
enum {
    OID_BOOL = 16,
    OID_INT8 = 20,
    OID_INT2 = 21,
    OID_INT4 = 23,
    OID_JSON = 114,
    OID_FLOAT4 = 700,
    OID_FLOAT8 = 701,
    OID_NUMERIC = 1700,
    OID_JSONB = 3802,
};

/* --- rows --- */

/* Not NaN and Infinity, which JSON does not know. */
static bool is_number(const char *text)
{
    struct json json;
    if (strspn(text, "0123456789+-.eE") != strlen(text) ||
        json_parse(&json, text, strlen(text), NULL) != 0)
        return false;
    json_free(&json);
    return true;
}

/* What is JSON in the database stays so, if it may stand that deep in a message. */
static bool is_document(const char *text)
{
    struct json json;
    if (strpbrk(text, "\r\n") != NULL)
        return false;
    char *deep = mem_format("[[[[[[[[%s]]]]]]]]", text);
    bool good = json_parse(&json, deep, strlen(deep), NULL) == 0;
    if (good)
        json_free(&json);
    free(deep);
    return good;
}

static void put_value(struct buffer *out, Oid type, const char *text)
{
    switch (type) {
    case OID_BOOL:
        buffer_string(out, *text == 't' ? "true" : "false");
        return;
    case OID_INT2:
    case OID_INT4:
    case OID_INT8:
    case OID_FLOAT4:
    case OID_FLOAT8:
    case OID_NUMERIC:
        if (is_number(text)) {
            buffer_string(out, text);
            return;
        }
        break;
    case OID_JSON:
    case OID_JSONB:
        if (is_document(text)) {
            buffer_string(out, text);
            return;
        }
        break;
    default:
        break;
    }
    buffer_json(out, text, strlen(text));
}

static void put_row(struct buffer *out, const PGresult *result)
{
    buffer_string(out, out->length > 0 ? ",[" : "[");
    for (int column = 0; column < PQnfields(result); column++) {
        if (column > 0)
            buffer_char(out, ',');
        if (PQgetisnull(result, 0, column))
            buffer_string(out, "null");
        else
            put_value(out, PQftype(result, column), PQgetvalue(result, 0, column));
    }
    buffer_char(out, ']');
}

static void put_columns(struct sql *sql, const PGresult *result)
{
    if (sql->columns.length > 0)
        return;
    for (int column = 0; column < PQnfields(result); column++) {
        const char *name = PQfname(result, column);
        buffer_string(&sql->columns, column > 0 ? "," : "");
        buffer_json(&sql->columns, name, strlen(name));
    }
    if (sql->columns.length <= STATEMENT_COLUMNS_MAX)
        return;
    buffer_clear(&sql->columns);
    buffer_string(&sql->columns, "\"…\"");
    sql->truncated = true;
}

/* Its bytes alone are no more than what is shown: as JSON they may be six times as many. */
static bool may_fit(const PGresult *result)
{
    size_t length = 0;
    for (int column = 0; column < PQnfields(result); column++)
        length += (size_t)PQgetlength(result, 0, column);
    return length <= STATEMENT_SHOWN_MAX;
}

static void take_row(struct sql *sql, const PGresult *result)
{
    size_t before = sql->rows.length;
    put_columns(sql, result);
    sql->row_count++;
    if (sql->truncated || sql->row_count > sql->request.max_rows || !may_fit(result)) {
        sql->truncated = true;
        return;
    }
    put_row(&sql->rows, result);
    if (sql->rows.length > STATEMENT_SHOWN_MAX) {
        sql->rows.length = before;
        sql->truncated = true;
    }
}

/* --- failure --- */

static void put_field(struct sql *sql, const PGresult *result, const char *key, int field)
{
    const char *text = PQresultErrorField(result, field);
    if (text == NULL)
        return;
    buffer_format(&sql->failure, "%s\"%s\":", sql->failure.length > 1 ? "," : "", key);
    buffer_json(&sql->failure, text, strnlen(text, TEXT_MAX));
}

static void take_error(struct sql *sql, const PGresult *result)
{
    const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    const char *primary = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    const char *whole = PQresultErrorMessage(result);
    if (sql->message != NULL)
        return;
    if (primary == NULL)
        primary = whole;
    size_t line = strcspn(primary, "\n");
    sql->message = mem_string_n(primary, line < TEXT_MAX ? line : TEXT_MAX);
    if (state != NULL)
        memccpy(sql->sqlstate, state, '\0', sizeof sql->sqlstate - 1);
    buffer_char(&sql->failure, '{');
    put_field(sql, result, "sqlstate", PG_DIAG_SQLSTATE);
    put_field(sql, result, "message", PG_DIAG_MESSAGE_PRIMARY);
    put_field(sql, result, "detail", PG_DIAG_MESSAGE_DETAIL);
    put_field(sql, result, "hint", PG_DIAG_MESSAGE_HINT);
    put_field(sql, result, "context", PG_DIAG_CONTEXT);
    put_field(sql, result, "position", PG_DIAG_STATEMENT_POSITION);
    put_field(sql, result, "constraint", PG_DIAG_CONSTRAINT_NAME);
    buffer_char(&sql->failure, '}');
}

static void take_end(struct sql *sql, const PGresult *result)
{
    sql->succeeded = true;
    free(sql->tag);
    free(sql->affected);
    sql->tag = mem_string(PQcmdStatus((PGresult *)result));
    sql->affected = mem_string(PQcmdTuples((PGresult *)result));
}

bool sql_take_result(struct sql *sql, const PGresult *result)
{
    switch (PQresultStatus(result)) {
    case PGRES_SINGLE_TUPLE:
        take_row(sql, result);
        return false;
    case PGRES_TUPLES_OK:
        put_columns(sql, result);
        take_end(sql, result);
        return false;
    case PGRES_COMMAND_OK:
        take_end(sql, result);
        return false;
    case PGRES_COPY_IN:
    case PGRES_COPY_OUT:
    case PGRES_COPY_BOTH:
        sql->message = mem_string("COPY from or to the client has nobody to talk to here: use the "
                                  "handler exec with psql");
        memccpy(sql->sqlstate, "0A000", '\0', sizeof sql->sqlstate);
        return true;
    case PGRES_EMPTY_QUERY:
        sql->message = mem_string("the statement is empty");
        memccpy(sql->sqlstate, "42601", '\0', sizeof sql->sqlstate);
        return false;
    default:
        take_error(sql, result);
        return false;
    }
}

/* --- the answer --- */

/* The same statement may succeed another time; a lost connection has no SQLSTATE. */
static bool is_temporary(const char *sqlstate)
{
    static const char *const classes[] = {"08", "40", "53", "57P", "57014", "55P03"};
    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++)
        if (strncmp(sqlstate, classes[i], strlen(classes[i])) == 0)
            return true;
    return *sqlstate == '\0';
}

void sql_fail(struct sql *sql, const char *exception, const char *message, bool final)
{
    struct buffer text = {0};
    buffer_string(&text, message);
    struct builtin_failure said = {.exception = exception,
                                   .message = {text.data, text.length},
                                   .details = {sql->failure.data, sql->failure.length},
                                   .final = final};
    builtin_fail(sql->task.builtin, sql->task.id, sql->task.fence, &said);
    buffer_free(&text);
    sql_free(sql);
}

static void sql_done(struct sql *sql)
{
    struct buffer details = {0};
    buffer_string(&details, "{\"command\":");
    buffer_json(&details, sql->tag, strlen(sql->tag));
    buffer_format(&details, ",\"rows_affected\":%s",
                  *sql->affected != '\0' ? sql->affected : "null");
    if (sql->columns.length > 0) {
        buffer_string(&details, ",\"columns\":[");
        buffer_append(&details, sql->columns.data, sql->columns.length);
        buffer_string(&details, "],\"rows\":[");
        buffer_append(&details, sql->rows.data, sql->rows.length);
        buffer_format(&details, "],\"rows_truncated\":%s", sql->truncated ? "true" : "false");
    }
    buffer_char(&details, '}');
    builtin_done(sql->task.builtin, sql->task.id, sql->task.fence,
                 (struct slice){details.data, details.length});
    buffer_free(&details);
    sql_free(sql);
}

/* Ended by its own statement_timeout, not by somebody's pg_cancel_backend(). */
static bool is_overdue(const struct sql *sql)
{
    return strcmp(sql->sqlstate, "57014") == 0 && sql->end_us != 0 &&
           clock_monotonic_us() > sql->end_us - SLACK_US;
}

/* A statement that was done before the request to cancel it came is done. */
void sql_answer(struct sql *sql)
{
    char exception[32];
    if (sql->message == NULL && sql->succeeded) {
        sql_done(sql);
    } else if (sql->cancelled != NULL && strcmp(sql->sqlstate, "57014") == 0) {
        sql_fail(sql, sql->overdue ? "timeout" : "cancelled", sql->cancelled, false);
    } else if (is_overdue(sql)) {
        sql_fail(sql, "timeout", sql_overdue(sql), false);
    } else {
        snprintf(exception, sizeof exception, *sql->sqlstate != '\0' ? "SQLSTATE %s" : "sql%s",
                 sql->sqlstate);
        sql_fail(sql, exception,
                 sql->message != NULL ? sql->message : "the server answered nothing",
                 !is_temporary(sql->sqlstate));
    }
}
