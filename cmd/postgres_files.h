/*
 * The files of the private PostgreSQL outside its own directory: settings, who may connect,
 * password, log, and where its socket lives. Nothing is written into PostgreSQL's directory: where
 * `up` runs as root, that belongs to another user.
 */
#ifndef CMD_POSTGRES_FILES_H
#define CMD_POSTGRES_FILES_H

#include "base/error.h"

#include <stdbool.h>
#include <sys/types.h>

struct account;

/* postgresql.conf and pg_hba.conf in `directory`. */
int postgres_write_settings(const char *directory, const char *socket_directory, int port,
                            struct rota_error *error);

/* The password, made at first use. To be freed. */
char *postgres_password(const char *directory, struct rota_error *error);
/* A copy of it that the account may read, for initdb; returns its path, to be freed. */
char *postgres_password_copy(const char *directory, const char *password,
                             const struct account *account, struct rota_error *error);
void postgres_remove_password_copy(const char *directory);

/*
 * A directory for the socket that the account owns and nobody else enters: in the data directory,
 * or a new one in a temporary place where that path is too long for a socket. To be freed.
 */
char *postgres_socket_directory(const char *directory, const struct account *account,
                                struct rota_error *error);
/* Removes a temporary one, also that of a killed start. */
void postgres_remove_socket_directory(const char *directory);

/* An empty directory of mode 0700 that belongs to the account. */
int postgres_make_directory(const char *path, const struct account *account,
                            struct rota_error *error);

/*
 * New data that are not yet on the disk: marked with the boot they were made in. After another boot
 * they are doubtful, and are put aside as postgres.doubtful.
 */
int postgres_mark_unsynced(const char *directory, struct rota_error *error);
void postgres_mark_synced(const char *directory);
bool postgres_is_unsynced(const char *directory);
bool postgres_is_doubtful(const char *directory);
int postgres_put_aside(const char *directory, struct rota_error *error);

/* The log, for appending; a large one is put aside first. -1 with error. */
int postgres_open_log(const char *directory, struct rota_error *error);
/* What the log says was wrong since `start`, as one line; "" if nothing. To be freed. */
char *postgres_log_complaint(const char *directory, off_t start);

/* A free TCP port on 127.0.0.1: `wanted` if it is one, else what the kernel chooses. 0: none. */
int postgres_free_port(int wanted);

/* postgresql://… for libpq. To be freed. */
char *postgres_url(const char *password, const char *socket_directory, int port);

#endif
