/*
 * What `rota doctor` finds: one line each, with what would be right. The checks of the session
 * connection are a file of their own (doctor_session.c), the rest is cmd_doctor.c.
 */
#ifndef CMD_DOCTOR_H
#define CMD_DOCTOR_H

#include "cmd/client.h"

struct doctor {
    struct buffer json, text; /* elements of an array; lines */
    int ok, warn, bad;
};

/* Texts are copied. level: "ok", "warn", "bad"; right NULL: nothing to do. */
void doctor_find(struct doctor *doctor, const char *level, const char *check, const char *where,
                 const char *what, const char *right);

/* Whether locks and notifications survive on the connection that nodes use for them. */
void doctor_session(struct doctor *doctor, struct client *client);

#endif
