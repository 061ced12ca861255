/* Small questions about text: see text.h. */
#include "base/text.h"

#include <string.h>
#include <strings.h>

static bool is_continuation(char byte)
{
    return ((unsigned char)byte & 0xc0) == 0x80;
}

size_t text_utf8_length(const char *text, size_t length)
{
    if (length == 0)
        return 0;
    unsigned char a = (unsigned char)text[0];
    if (a < 0x80)
        return 1;
    unsigned char b = length > 1 ? (unsigned char)text[1] : 0;
    if (a >= 0xc2 && a <= 0xdf)
        return length > 1 && is_continuation(text[1]) ? 2 : 0;
    if (a >= 0xe0 && a <= 0xef) {
        if (length < 3 || !is_continuation(text[1]) || !is_continuation(text[2]))
            return 0;
        /* no overlong forms, no surrogates */
        return (a == 0xe0 && b < 0xa0) || (a == 0xed && b >= 0xa0) ? 0 : 3;
    }
    if (a >= 0xf0 && a <= 0xf4) {
        if (length < 4 || !is_continuation(text[1]) || !is_continuation(text[2]) ||
            !is_continuation(text[3]))
            return 0;
        return (a == 0xf0 && b < 0x90) || (a == 0xf4 && b >= 0x90) ? 0 : 4;
    }
    return 0;
}

bool text_is_utf8(const char *text, size_t length)
{
    for (size_t at = 0; at < length;) {
        size_t size = text_utf8_length(text + at, length - at);
        if (size == 0)
            return false;
        at += size;
    }
    return true;
}

size_t text_cut(const char *text, size_t length, size_t characters)
{
    size_t at = 0;
    while (at < length && characters-- > 0) {
        size_t size = text_utf8_length(text + at, length - at);
        at += size > 0 ? size : 1;
    }
    return at < length ? at : length;
}

int text_int64(const char *text, size_t length, int64_t *ret_number)
{
    size_t at = length > 0 && text[0] == '-' ? 1 : 0;
    bool negative = at == 1;
    int64_t number = 0;
    if (at == length)
        return -1;
    for (; at < length; at++) {
        if (text[at] < '0' || text[at] > '9')
            return -1;
        if (__builtin_mul_overflow(number, 10, &number) ||
            __builtin_add_overflow(number, negative ? -(text[at] - '0') : text[at] - '0', &number))
            return -1;
    }
    *ret_number = number;
    return 0;
}

int text_bool(const char *text, bool *ret_value)
{
    static const char *const yes[] = {"true", "yes", "on", "1"};
    static const char *const no[] = {"false", "no", "off", "0"};
    for (size_t i = 0; i < sizeof yes / sizeof *yes; i++) {
        if (strcasecmp(text, yes[i]) == 0 || strcasecmp(text, no[i]) == 0) {
            *ret_value = strcasecmp(text, yes[i]) == 0;
            return 0;
        }
    }
    return -1;
}

uint64_t text_hash(const char *text, size_t length)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < length; i++)
        hash = (hash ^ (unsigned char)text[i]) * 0x100000001b3u;
    hash = (hash ^ (hash >> 33)) * 0xff51afd7ed558ccdu;
    hash = (hash ^ (hash >> 33)) * 0xc4ceb9fe1a85ec53u;
    return hash ^ (hash >> 33);
}

#define NEAREST_LENGTH_MAX 63 /* longer words are no typing errors of ours */

static size_t edit_distance(const char *a, const char *b)
{
    size_t la = strlen(a), lb = strlen(b);
    if (la > NEAREST_LENGTH_MAX || lb > NEAREST_LENGTH_MAX)
        return SIZE_MAX;
    unsigned char row[NEAREST_LENGTH_MAX + 1];
    for (size_t j = 0; j <= lb; j++)
        row[j] = (unsigned char)j;
    for (size_t i = 1; i <= la; i++) {
        unsigned char diagonal = row[0];
        row[0] = (unsigned char)i;
        for (size_t j = 1; j <= lb; j++) {
            unsigned char best = diagonal + (a[i - 1] != b[j - 1]);
            if (row[j] + 1 < best)
                best = row[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            diagonal = row[j];
            row[j] = best;
        }
    }
    return row[lb];
}

const char *text_nearest(const char *word, const char *const *candidates, size_t count)
{
    const char *nearest = NULL;
    size_t best = strlen(word) / 3 + 1;
    for (size_t i = 0; i < count; i++) {
        size_t distance = edit_distance(word, candidates[i]);
        if (distance <= best && (nearest == NULL || distance < best)) {
            nearest = candidates[i];
            best = distance;
        }
    }
    return nearest;
}
