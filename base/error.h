/*
 * What went wrong, as a value. A function that can fail takes a `struct rota_error *`, fills it and
 * returns -1 (or NULL); it does not log. Whoever decides what to do about it logs once.
 */
#ifndef BASE_ERROR_H
#define BASE_ERROR_H

/* The values are the exit codes of the command line (contract). */
enum error_code {
    ERROR_NONE = 0,
    ERROR_REFUSED = 1,  /* refused or failed */
    ERROR_USAGE = 2,    /* the call itself was wrong */
    ERROR_DATABASE = 3, /* database out of reach */
    ERROR_NOT_FOUND = 4,
    ERROR_TIMEOUT = 5,       /* a lock or a wait timed out */
    ERROR_INTERRUPTED = 130, /* Ctrl-C, as shells count it */
};

struct rota_error {
    enum error_code code;
    char sqlstate[6]; /* "" unless PostgreSQL gave one */
    char message[2000];
};

/* Fills `error` (may be NULL) and returns -1, so that `return error_set(…)` reads well. */
int error_set(struct rota_error *error, enum error_code code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Puts "what: " before the message that is there. Returns -1. */
int error_prefix(struct rota_error *error, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
