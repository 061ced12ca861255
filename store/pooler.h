/* What is between us and the server: a setting, see store/pooler.c. */
#ifndef STORE_POOLER_H
#define STORE_POOLER_H

enum store_pooler {
    STORE_POOLER_AUTO,        /* found out at connect: another backend than the one it told of */
    STORE_POOLER_TRANSACTION, /* nothing outlives a transaction but what it wrote */
    STORE_POOLER_NONE,        /* the session is ours */
    STORE_POOLER_TRIAL,       /* nothing is assumed: no settings, nothing prepared (session.c) */
};

#endif
