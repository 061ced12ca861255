/*
 * The data directory of `rota up`:
 *   rota-up       marker: only a directory with it, or an empty one, is ever used
 *   lock          locked while an `up` lives; the kernel knows its process id
 *   url password  how clients connect, readable by the owner only
 *   postgres/     PostgreSQL's own files; postgres.new/ until they are complete
 *   postgres.log  what PostgreSQL says
 *   socket/       PostgreSQL's socket
 */
#ifndef CMD_DATA_DIRECTORY_H
#define CMD_DATA_DIRECTORY_H

#include "base/error.h"

#include <sys/types.h>

#define DATA_URL      "url"
#define DATA_PASSWORD "password"

struct account;

struct data_directory {
    char *path; /* absolute */
    int lock_fd;
};

/* Where `up` keeps its data unless told otherwise. To be freed. */
char *data_directory_default(void);

/*
 * Creates or opens and locks the directory. Refused: not ours, used by another `up`, not reachable
 * for the account.
 */
int data_directory_open(struct data_directory *ret_directory, const char *path,
                        const struct account *account, struct rota_error *error);
void data_directory_close(struct data_directory *directory);

/* The process id of the `up` that runs on it, 1 if it cannot be told, 0: none. */
pid_t data_directory_running(const char *path);

/* Small files for their owner only; written whole or not at all. */
int data_directory_write(const char *path, const char *name, const char *text,
                         struct rota_error *error);
/* Without the line end; to be freed. NULL with error. */
char *data_directory_read(const char *path, const char *name, struct rota_error *error);

/* Renames within one directory, so that it lasts even if the machine fails now. */
int data_directory_rename(const char *from, const char *to, struct rota_error *error);
/* Removes a directory with all in it; a missing one is fine. */
int data_directory_remove(const char *path, struct rota_error *error);

#endif
