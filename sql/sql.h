/*
 * The texts of sql/, embedded at build. Every statement is one file in sql/query/ that can be
 * pasted into psql; the word `rota` stands for the schema and is replaced when a connection
 * prepares the statement (schema names are plain identifiers, so the replacement needs no quoting).
 */
#ifndef SQL_SQL_H
#define SQL_SQL_H

#include "sql/statements.h"

/* The connections a statement is meant for (`-- on:` in its head). */
enum {
    STATEMENT_SESSION = 1, /* a node's session connection: locks, heartbeat */
    STATEMENT_WORK = 2,    /* a node's work connection: the hot path */
    STATEMENT_CLIENT = 4,  /* commands; prepared at first use */
};

struct statement {
    const char *name;
    int parameters;
    int roles;
    const char *text;
};

struct migration {
    int version;
    const char *name;
    const char *text;
};

extern const struct statement statements[STATEMENT_COUNT];
extern const struct migration migrations[];
extern const int migration_count; /* also the newest schema version this binary knows */

#endif
