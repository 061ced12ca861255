/*
 * uthash, the hash table of the house, with a hash function clang takes without a warning: the
 * default one falls through its cases.
 */
#ifndef BASE_TABLE_H
#define BASE_TABLE_H

#define HASH_FUNCTION(keyptr, keylen, hashv) HASH_FNV(keyptr, keylen, hashv)
#include <uthash.h>

#endif
