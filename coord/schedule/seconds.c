/* The seconds of a day as bits: see seconds.h. */
#include "coord/schedule/seconds.h"

#include <assert.h>
#include <string.h>

#define WORDS (SECONDS_OF_DAY / 64)

void seconds_clear(struct seconds *seconds)
{
    memset(seconds, 0, sizeof *seconds);
}

void seconds_add(struct seconds *seconds, int place, uint64_t bits)
{
    if (bits == 0)
        return;
    assert(place >= 0 && place + 63 - __builtin_clzll(bits) < SECONDS_OF_DAY);
    int word = place / 64, shift = place % 64;
    seconds->words[word] |= bits << shift;
    if (shift > 0 && bits >> (64 - shift) != 0)
        seconds->words[word + 1] |= bits >> (64 - shift);
}

void seconds_add_words(struct seconds *seconds, int place, const uint64_t *words, int count)
{
    int shift = place % 64;
    uint64_t *to = &seconds->words[place / 64], carry = 0;
    assert(place >= 0 && place / 64 + count <= WORDS);
    for (int i = 0; i < count; i++) {
        to[i] |= words[i] << shift | carry;
        carry = shift > 0 ? words[i] >> (64 - shift) : 0;
    }
    if (carry != 0) {
        assert(to + count < seconds->words + WORDS);
        to[count] |= carry;
    }
}

/* The bits of a word that lie in [from, to), places of the day. */
static uint64_t part(int word, int from, int to)
{
    int low = from - word * 64, high = to - word * 64;
    if (high <= 0 || low >= 64)
        return 0;
    uint64_t bits = low > 0 ? UINT64_MAX << low : UINT64_MAX;
    return high < 64 ? bits & ((UINT64_C(1) << high) - 1) : bits;
}

void seconds_add_range(struct seconds *seconds, int from, int to)
{
    if (from >= to)
        return;
    assert(from >= 0 && to <= SECONDS_OF_DAY);
    for (int word = from / 64; word <= (to - 1) / 64; word++)
        seconds->words[word] |= part(word, from, to);
}

void seconds_add_every(struct seconds *seconds, int first, int step, int to)
{
    assert(first >= 0 && step > 0 && to <= SECONDS_OF_DAY);
    if (step == 1)
        seconds_add_range(seconds, first, to);
    else
        for (int place = first; place < to; place += step)
            seconds->words[place / 64] |= UINT64_C(1) << place % 64;
}

void seconds_remove_one(struct seconds *seconds, int place)
{
    seconds->words[place / 64] &= ~(UINT64_C(1) << place % 64);
}

void seconds_remove(struct seconds *seconds, const struct seconds *what)
{
    for (int word = 0; word < WORDS; word++)
        seconds->words[word] &= ~what->words[word];
}

void seconds_keep(struct seconds *seconds, int from, int to)
{
    if (from <= 0 && to >= SECONDS_OF_DAY)
        return;
    for (int word = 0; word < WORDS; word++)
        seconds->words[word] &= part(word, from, to);
}

int seconds_count(const struct seconds *seconds)
{
    int count = 0;
    for (int word = 0; word < WORDS; word++)
        if (seconds->words[word] != 0)
            count += __builtin_popcountll(seconds->words[word]);
    return count;
}

int seconds_next(const struct seconds *seconds, int from)
{
    for (int word = from / 64; word < WORDS; word++) {
        uint64_t bits = seconds->words[word] & part(word, from, SECONDS_OF_DAY);
        if (bits != 0)
            return word * 64 + __builtin_ctzll(bits);
    }
    return -1;
}

int seconds_last(const struct seconds *seconds)
{
    for (int word = WORDS - 1; word >= 0; word--)
        if (seconds->words[word] != 0)
            return word * 64 + 63 - __builtin_clzll(seconds->words[word]);
    return -1;
}

int seconds_run_end(const struct seconds *seconds, int place)
{
    for (int word = place / 64; word < WORDS; word++) {
        uint64_t gaps = ~seconds->words[word] & part(word, place, SECONDS_OF_DAY);
        if (gaps != 0)
            return word * 64 + __builtin_ctzll(gaps);
    }
    return SECONDS_OF_DAY;
}
