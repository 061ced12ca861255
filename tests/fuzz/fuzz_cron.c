/*
 * Cron expressions: any text in a zone that changes its clock. What is taken is described and
 * walked: each occurrence lies after the one before, and counting agrees with walking. Input: one
 * byte chooses what is done at a change of the clock, eight are the instant, the rest is text.
 */
#include "coord/schedule/cron.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

#define STEPS 20

static void walk(const struct cron *cron, int64_t after_s)
{
    int64_t at_s = after_s, next_s;
    int count = 0;
    for (; count < STEPS && (next_s = cron_next(cron, at_s)) != CRON_NONE; count++) {
        CHECK(next_s > at_s);
        CHECK(cron_count(cron, at_s, next_s) == 1);
        CHECK(next_s == at_s + 1 || cron_next(cron, next_s - 1) == next_s);
        at_s = next_s;
    }
    CHECK(cron_count(cron, after_s, at_s) == count);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct zone *zones[3];
    static const char *const names[] = {"UTC", "Europe/Berlin", "Australia/Lord_Howe"};
    struct rota_error error = {0};
    struct cron cron;
    char expression[CRON_LENGTH_MAX + 100];
    int64_t after_s;
    if (size < 9 || size - 9 >= sizeof expression)
        return 0;
    if (zones[0] == NULL) {
        struct zone_cache *cache = zone_cache_new();
        for (int i = 0; i < 3; i++)
            CHECK((zones[i] = zone_open(cache, names[i], &error)) != NULL);
        zone_cache_free(cache);
    }
    memcpy(&after_s, data + 1, 8);
    after_s %= INT64_C(10000000000); /* years 1653 to 2286 */
    memcpy(expression, data + 9, size - 9);
    expression[size - 9] = '\0';
    if (cron_parse(&cron, expression, zones[data[0] % 3], "seed", &error) != 0) {
        CHECK(error.code == ERROR_REFUSED && error.message[0] != '\0');
        return 0;
    }
    struct buffer words = {0};
    cron_set_clock_change(&cron, (enum zone_gap)(data[0] / 3 % 3),
                          (enum zone_overlap)(data[0] / 9 % 4));
    cron_describe(&cron, &words);
    CHECK(words.length > 0);
    cron_describe_clock_change(&cron, &words);
    walk(&cron, after_s);
    buffer_free(&words);
    return 0;
}
