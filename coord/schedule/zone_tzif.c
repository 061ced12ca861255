/*
 * The TZif format of RFC 9636, versions 1 to 4: header, data block, from version 2 on a second
 * block with 64-bit times and a rule for the time after. Everything in a file is untrusted.
 */
#include "coord/schedule/zone_table.h"

#include <string.h>

#define HEADER_SIZE     44
#define TYPE_SIZE       6    /* offset (4), is summer time (1), place of the abbreviation (1) */
#define TRANSITIONS_MAX 5000 /* the richest zones of today have under 300 */

/* One data block: counts of its header and where its parts lie. */
struct block {
    size_t time_size; /* 4 or 8 */
    uint32_t time_count;
    uint32_t type_count;
    uint32_t leap_count;
    const unsigned char *times;
    const unsigned char *indexes;
    const unsigned char *types;
    const unsigned char *end;
};

static uint32_t read_u32(const unsigned char *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static int64_t read_time(const unsigned char *at, size_t size)
{
    if (size == 4)
        return (int32_t)read_u32(at);
    return (int64_t)((uint64_t)read_u32(at) << 32 | read_u32(at + 4));
}

static int damaged(const char *what, struct rota_error *error)
{
    return error_set(error, ERROR_REFUSED, "not a usable TZif file: %s", what);
}

static int read_block(const unsigned char *at, const unsigned char *end, size_t time_size,
                      struct block *ret_block, struct rota_error *error)
{
    if (end - at < HEADER_SIZE)
        return damaged("it ends within a header", error);
    if (memcmp(at, "TZif", 4) != 0)
        return damaged("no TZif mark", error);
    uint32_t ut_count = read_u32(at + 20), standard_count = read_u32(at + 24);
    uint32_t char_count = read_u32(at + 40);
    struct block block = {.time_size = time_size,
                          .leap_count = read_u32(at + 28),
                          .time_count = read_u32(at + 32),
                          .type_count = read_u32(at + 36)};
    if (block.type_count == 0 || block.type_count > 256 || block.time_count > TRANSITIONS_MAX)
        return damaged("impossible counts", error);
    /* Sums of six 32-bit numbers times at most 12 fit easily. */
    uint64_t size = (uint64_t)block.time_count * (time_size + 1) +
                    (uint64_t)block.type_count * TYPE_SIZE + char_count +
                    (uint64_t)block.leap_count * (time_size + 4) + standard_count + ut_count;
    if (size > (uint64_t)(end - at - HEADER_SIZE))
        return damaged("it ends within its data", error);
    block.times = at + HEADER_SIZE;
    block.indexes = block.times + block.time_count * time_size;
    block.types = block.indexes + block.time_count;
    block.end = block.times + size;
    *ret_block = block;
    return 0;
}

/* Offset of a local time type; -1 if it cannot be. */
static int type_offset(const struct block *block, unsigned index, int32_t *ret_offset_s)
{
    if (index >= block->type_count)
        return -1;
    int32_t offset_s = (int32_t)read_u32(block->types + index * TYPE_SIZE);
    if (offset_s <= -ZONE_OFFSET_MAX_S || offset_s >= ZONE_OFFSET_MAX_S)
        return -1;
    *ret_offset_s = offset_s;
    return 0;
}

static int read_transitions(const struct block *block, struct zone *zone, int64_t *ret_last_s,
                            struct rota_error *error)
{
    int32_t offset_s;
    if (type_offset(block, 0, &offset_s) != 0)
        return damaged("an impossible offset", error);
    zone_table_append(zone, ZONE_BEGIN_S, offset_s);
    for (uint32_t i = 0; i < block->time_count; i++) {
        int64_t time_s = read_time(block->times + i * block->time_size, block->time_size);
        if (time_s <= ZONE_BEGIN_S || time_s >= ZONE_END_S)
            return damaged("a time out of range", error);
        if (time_s <= *ret_last_s)
            return damaged("times out of order", error);
        if (type_offset(block, block->indexes[i], &offset_s) != 0)
            return damaged("an impossible offset", error);
        zone_table_append(zone, time_s, offset_s);
        *ret_last_s = time_s;
    }
    return 0;
}

/* The text between two newlines that ends a file from version 2 on; empty: no rule known. */
static int read_footer(const unsigned char *at, const unsigned char *end, int64_t last_s,
                       struct zone *zone, struct rota_error *error)
{
    const unsigned char *close =
        end - at >= 2 && at[0] == '\n' ? memchr(at + 1, '\n', (size_t)(end - at - 1)) : NULL;
    if (close == NULL)
        return damaged("it ends without its rule", error);
    struct slice text = {(const char *)at + 1, (size_t)(close - at - 1)};
    struct zone_rule rule;
    if (text.length == 0)
        return 0;
    if (zone_rule_parse(text, &rule) != 0)
        return damaged("its last line is no rule", error);
    if (last_s == ZONE_BEGIN_S)
        zone_table_append(zone, ZONE_BEGIN_S, rule.standard_s);
    zone_rule_extend(&rule, last_s, zone);
    return 0;
}

static int read_all(const unsigned char *at, const unsigned char *end, struct zone *zone,
                    struct rota_error *error)
{
    struct block block = {0};
    int64_t last_s = ZONE_BEGIN_S;
    if (read_block(at, end, 4, &block, error) != 0)
        return -1;
    bool has_second = at[4] >= '2';
    if (has_second && read_block(block.end, end, 8, &block, error) != 0)
        return -1;
    if (block.leap_count > 0)
        return error_set(error, ERROR_REFUSED,
                         "its clock counts leap seconds, which ours does not: expected the same "
                         "name without \"right/\"");
    if (read_transitions(&block, zone, &last_s, error) != 0)
        return -1;
    return has_second ? read_footer(block.end, end, last_s, zone, error) : 0;
}

struct zone *zone_parse(const char *name, const void *bytes, size_t length,
                        struct rota_error *error)
{
    struct zone *zone = zone_table_new(name);
    const unsigned char *at = bytes;
    if (at == NULL || length == 0)
        damaged("it is empty", error);
    else if (read_all(at, at + length, zone, error) == 0)
        return zone;
    error_prefix(error, "zone \"%s\"", zone->name);
    zone_unref(zone);
    return NULL;
}
