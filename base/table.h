/*
 * uthash, the hash table of the house, with a hash of our own: its default falls through its cases,
 * which clang warns of, and its others go byte by byte. Keys are numbers mostly: a word at a time.
 */
#ifndef BASE_TABLE_H
#define BASE_TABLE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline unsigned table_hash(const void *key, size_t length)
{
    uint64_t hash = length;
    for (const char *at = key; length > 0;) {
        uint64_t word = 0;
        size_t size = length < sizeof word ? length : sizeof word;
        memcpy(&word, at, size);
        hash = (hash ^ word) * 0x9e3779b97f4a7c15u; /* 2^64 / golden ratio, as in worker/run.c */
        hash ^= hash >> 32;
        at += size;
        length -= size;
    }
    return (unsigned)hash;
}

#define HASH_FUNCTION(keyptr, keylen, hashv) ((hashv) = table_hash(keyptr, keylen))
#include <uthash.h>

#endif
