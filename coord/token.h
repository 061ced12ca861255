/*
 * Tokens of the HTTP API: rota_<key>_<secret>. The key finds the row and is no secret; of the whole
 * only a SHA-256 is kept, which is enough for 256 random bits.
 */
#ifndef COORD_TOKEN_H
#define COORD_TOKEN_H

#include "base/buffer.h"
#include "base/error.h"

#include <stdbool.h>

#define TOKEN_KEY_SIZE  13 /* 12 hexadecimal digits */
#define TOKEN_HASH_SIZE 32
#define TOKEN_TEXT_SIZE 64 /* room for a whole token */

/* A new one. 0, or -1 where the system has no randomness. */
int token_make(char ret_text[TOKEN_TEXT_SIZE], struct rota_error *error);
/* The key of what has the shape of a token. 0 or -1. */
int token_split(const char *text, char ret_key[TOKEN_KEY_SIZE]);
void token_hash(const char *text, unsigned char ret_hash[TOKEN_HASH_SIZE]);
/* In the same time wherever they differ. */
bool token_same(struct slice stored, const unsigned char hash[TOKEN_HASH_SIZE]);

#endif
