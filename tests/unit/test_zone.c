/*
 * Time zones: offsets against the C library's over three centuries, local times in gaps and
 * overlaps, the rule at a file's end, names that are refused, and damaged files.
 */
#include "base/buffer.h"
#include "base/instant.h"
#include "coord/schedule/zone.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define SEED 20261120

static const char *const zone_names[] = {
    "UTC",
    "Europe/Berlin",
    "Europe/Dublin",
    "Europe/London",
    "America/New_York",
    "America/Sao_Paulo",
    "America/Havana",
    "America/St_Johns",
    "America/Caracas",
    "America/Nuuk",
    "America/Argentina/Buenos_Aires",
    "Africa/Cairo",
    "Africa/Casablanca",
    "Africa/Monrovia",
    "Antarctica/Troll",
    "Asia/Jerusalem",
    "Asia/Beirut",
    "Asia/Gaza",
    "Asia/Kathmandu",
    "Asia/Tehran",
    "Asia/Pyongyang",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "Pacific/Chatham",
    "Pacific/Kwajalein",
    "Etc/GMT+12",
    "EST5EDT",
};

#define ZONES (sizeof zone_names / sizeof *zone_names)

static int32_t library_offset(int64_t instant_s)
{
    struct tm local;
    time_t at_s = (time_t)instant_s;
    localtime_r(&at_s, &local);
    return (int32_t)local.tm_gmtoff;
}

static void check_offset(const struct zone *zone, int64_t instant_s)
{
    if (zone_offset(zone, instant_s) != library_offset(instant_s))
        fail_msg("%s at %lld: expected offset %d, got %d", zone_name(zone), (long long)instant_s,
                 library_offset(instant_s), zone_offset(zone, instant_s));
}

static void offsets_agree_with_the_c_library(void **state)
{
    (void)state;
    struct zone_cache *zones = zone_cache_new();
    const int64_t first_s = days_from_civil(1900, 1, 1) * 86400;
    const int64_t last_s = days_from_civil(ZONE_LAST_YEAR, 12, 1) * 86400;
    srand(SEED);
    for (size_t i = 0; i < ZONES; i++) {
        struct zone *zone = zone_open(zones, zone_names[i], NULL);
        assert_non_null(zone);
        setenv("TZ", zone_names[i], 1);
        tzset();
        for (size_t k = 1; k < zone_span_count(zone); k++) {
            int64_t start_s = zone_span(zone, k).start_s;
            if (start_s <= first_s || start_s >= last_s)
                continue;
            check_offset(zone, start_s - 1);
            check_offset(zone, start_s);
        }
        for (int64_t at_s = first_s; at_s < last_s; at_s += rand() % (20 * 86400))
            check_offset(zone, at_s);
        zone_unref(zone);
    }
    unsetenv("TZ");
    tzset();
    zone_cache_free(zones);
}

static void spans_follow_each_other_and_differ(void **state)
{
    (void)state;
    struct zone_cache *zones = zone_cache_new();
    for (size_t i = 0; i < ZONES; i++) {
        struct zone *zone = zone_open(zones, zone_names[i], NULL);
        size_t count = zone_span_count(zone);
        assert_int_equal(zone_span(zone, 0).start_s, ZONE_BEGIN_S);
        assert_int_equal(zone_span(zone, count - 1).end_s, ZONE_END_S);
        for (size_t k = 1; k < count; k++) {
            assert_int_equal(zone_span(zone, k - 1).end_s, zone_span(zone, k).start_s);
            assert_int_not_equal(zone_span(zone, k - 1).offset_s, zone_span(zone, k).offset_s);
            assert_int_equal(zone_find(zone, zone_span(zone, k).start_s), k);
            assert_int_equal(zone_find(zone, zone_span(zone, k).start_s - 1), k - 1);
        }
        assert_int_equal(zone_fixed(zone), count == 1);
        zone_unref(zone);
    }
    zone_cache_free(zones);
}

static int64_t wall(int year, int month, int day, int hour, int minute)
{
    return days_from_civil(year, month, day) * 86400 + hour * 3600 + minute * 60;
}

static void a_local_time_has_no_one_or_two_instants(void **state)
{
    (void)state;
    int64_t at[2];
    struct zone_cache *zones = zone_cache_new();
    struct zone *zone = zone_open(zones, "America/New_York", NULL);
    assert_int_equal(zone_instants(zone, wall(2024, 7, 1, 12, 0), at), 1);
    assert_int_equal(at[0], 1719849600);
    assert_int_equal(zone_instants(zone, wall(2024, 3, 10, 1, 59), at), 1);
    assert_int_equal(at[0], 1710053940);
    for (int minute = 0; minute < 60; minute += 59) {
        assert_int_equal(zone_instants(zone, wall(2024, 3, 10, 2, minute), at), 0);
        assert_int_equal(at[0], 1710054000);
    }
    assert_int_equal(zone_instants(zone, wall(2024, 3, 10, 3, 0), at), 1);
    assert_int_equal(at[0], 1710054000);
    assert_int_equal(zone_instants(zone, wall(2024, 11, 3, 1, 30), at), 2);
    assert_int_equal(at[0], 1730611800);
    assert_int_equal(at[1], 1730615400);
    assert_int_equal(zone_instants(zone, wall(2024, 11, 3, 2, 0), at), 1);
    zone_unref(zone);

    zone = zone_open(zones, "Pacific/Apia", NULL); /* had no 30 December 2011 */
    assert_int_equal(zone_instants(zone, wall(2011, 12, 30, 12, 0), at), 0);
    assert_int_equal(at[0], 1325239200);
    zone_unref(zone);
    zone_cache_free(zones);
}

static void a_zone_outlives_its_cache(void **state)
{
    (void)state;
    struct zone_cache *zones = zone_cache_new();
    struct zone *zone = zone_open(zones, "Europe/Berlin", NULL);
    struct zone *same = zone_open(zones, "Europe/Berlin", NULL);
    assert_ptr_equal(zone, same);
    zone_cache_free(zones);
    zone_unref(same);
    assert_string_equal(zone_name(zone_ref(zone)), "Europe/Berlin");
    zone_unref(zone);
    assert_int_equal(zone_offset(zone, 1720000000), 7200);
    zone_unref(zone);
}

static void a_refused_name_says_what_would_be_right(void **state)
{
    (void)state;
    static const char *const refused[][2] = {
        {"europe/berlin", "did you mean \"Europe/Berlin\""},
        {"America/New York", "character 12"},
        {"Berlin", "did you mean \"Europe/Berlin\""},
        {"Europe/Berlim", "did you mean \"Europe/Berlin\""},
        {"Mars/Olympus_Mons_Station", "is unknown"},
        {"", "empty"},
        {"/etc/passwd", "begins with \"/\""},
        {"../../etc/passwd", "begins with \".\""},
        {"Europe/../../etc/passwd", "begins with \".\""},
        {"Europe//Berlin", "begins with \"/\""},
        {"Europe/Berlin/", "is unknown"},
        {"Europe", "is unknown"},
        {"Europe/Berlin\n", "character 14"},
        {"\xc3\xbc", "character 1"},
    };
    char longest[300];
    struct zone_cache *zones = zone_cache_new();
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        for (int again = 0; again < 2; again++) {
            struct rota_error error = {0};
            assert_null(zone_open(zones, refused[i][0], &error));
            assert_int_equal(error.code, ERROR_REFUSED);
            if (strstr(error.message, refused[i][1]) == NULL)
                fail_msg("\"%s\": wanted %s in: %s", refused[i][0], refused[i][1], error.message);
        }
    }
    memset(longest, 'A', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    assert_null(zone_open(zones, longest, NULL));
    zone_cache_free(zones);
}

static void utc_needs_no_file_and_tzdir_is_obeyed(void **state)
{
    (void)state;
    char directory[] = "/tmp/rota-test-zone-XXXXXX", path[100];
    struct rota_error error = {0};
    assert_non_null(mkdtemp(directory));
    setenv("TZDIR", directory, 1);
    struct zone_cache *zones = zone_cache_new();
    for (int i = 0; i < 2; i++) {
        struct zone *utc = zone_open(zones, i == 0 ? NULL : "UTC", &error);
        assert_true(zone_fixed(utc));
        assert_string_equal(zone_name(utc), "UTC");
        zone_unref(utc);
    }
    assert_null(zone_open(zones, "Europe/Berlin", &error));
    assert_non_null(strstr(error.message, "TZDIR"));
    /* What is there must be a regular file: a pipe would be waited for. */
    snprintf(path, sizeof path, "%s/Pipe", directory);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_null(zone_open(zones, "Pipe", &error));
    assert_int_equal(unlink(path), 0);
    snprintf(path, sizeof path, "%s/Junk", directory);
    FILE *junk = fopen(path, "we");
    assert_non_null(junk);
    fputs("no zone", junk);
    fclose(junk);
    assert_null(zone_open(zones, "Junk", &error));
    assert_non_null(strstr(error.message, "not a usable TZif file"));
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(directory), 0);
    unsetenv("TZDIR");
    zone_cache_free(zones);
}

static void put_u32(struct buffer *file, uint32_t number)
{
    const unsigned char bytes[] = {(unsigned char)(number >> 24), (unsigned char)(number >> 16),
                                   (unsigned char)(number >> 8), (unsigned char)number};
    buffer_append(file, bytes, sizeof bytes);
}

static void put_block(struct buffer *file)
{
    const uint32_t counts[] = {0, 0, 0, 0, 1, 4}; /* one type, no transitions, one name */
    buffer_append(file, "TZif2\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20);
    for (size_t i = 0; i < 6; i++)
        put_u32(file, counts[i]);
    put_u32(file, 3600);
    buffer_append(file, "\0\0ABC\0", 6);
}

/* A zone that has nothing but a rule. */
static struct zone *zone_of_rule(const char *rule)
{
    struct buffer file = {0};
    put_block(&file);
    put_block(&file);
    buffer_format(&file, "\n%s\n", rule);
    struct zone *zone = zone_parse("Test/Rule", file.data, file.length, NULL);
    buffer_free(&file);
    return zone;
}

static void every_spelling_of_a_rule_is_understood(void **state)
{
    (void)state;
    static const struct {
        const char *rule;
        int64_t instant_s;
        int32_t offset_s;
    } examples[] = {
        {"", 1700000000, 3600},
        {"CET-1", 1700000000, 3600},
        {"<+0530>-5:30", 1700000000, 19800},
        {"CET-1CEST,M3.5.0,M10.5.0/3", 1711846799, 3600},
        {"CET-1CEST,M3.5.0,M10.5.0/3", 1711846800, 7200},
        {"CET-1CEST,M3.5.0,M10.5.0/3", 1729990799, 7200},
        {"CET-1CEST,M3.5.0,M10.5.0/3", 1729990800, 3600},
        {"AEST-10AEDT,M10.1.0,M4.1.0/3", 1704067200, 39600},
        {"AEST-10AEDT,M10.1.0,M4.1.0/3", 1719792000, 36000},
        {"IST-2IDT,M3.4.4/26,M10.5.0", 1711670399, 7200}, /* Friday after the 4th Thursday, 02:00 */
        {"IST-2IDT,M3.4.4/26,M10.5.0", 1711670400, 10800},
        {"<-02>2<-01>,M3.5.0/-1,M10.5.0/0", 1711846800, -3600},
        {"EST5EDT,J60,J300", 1709276400, -14400}, /* 1 March 2024, 02:00 */
        {"EST5EDT,J60,J300", 1709276399, -18000},
        {"EST5EDT,59,299", 1709190000, -14400},       /* 29 February 2024: counts the leap day */
        {"XXX3EDT4,0/0,J365/23", 1704067200, -14400}, /* summer all year */
        {"XXX3EDT4,0/0,J365/23", 1735700400, -14400},
        {"IST-1GMT0,M10.5.0,M3.5.0/1", 1704067200, 0}, /* winter is the exception */
    };
    for (size_t i = 0; i < sizeof examples / sizeof *examples; i++) {
        struct zone *zone = zone_of_rule(examples[i].rule);
        assert_non_null(zone);
        if (zone_offset(zone, examples[i].instant_s) != examples[i].offset_s)
            fail_msg("%s at %lld: expected %d, got %d", examples[i].rule,
                     (long long)examples[i].instant_s, examples[i].offset_s,
                     zone_offset(zone, examples[i].instant_s));
        zone_unref(zone);
    }
}

static void a_wrong_rule_is_refused(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        "C",
        "CET",
        "CET-",
        "CET-25",
        "CET-1CEST",
        "CET-1CE",
        "CET-1CEST,",
        "CET-1CEST,M3",
        "CET-1CEST,M3.5.0",
        "<CET-1",
        "CET-1 ",
        "CET-1CEST,M13.5.0,M10.5.0",
        "CET-1CEST,M3.6.0,M10.5.0",
        "CET-1CEST,M3.5.7,M10.5.0",
        "CET-1CEST,J0,J300",
        "CET-1CEST,J366,J300",
        "CET-1CEST,366,300",
        "CET-1CEST,M3.5.0/168,M10.5.0",
        "CET-1CEST,M3.5.0,M10.5.0x",
        "CET-1:60",
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct zone *zone = zone_of_rule(wrong[i]);
        if (zone != NULL)
            fail_msg("\"%s\" was accepted", wrong[i]);
    }
}

static void read_whole(const char *path, struct buffer *file)
{
    FILE *input = fopen(path, "re");
    assert_non_null(input);
    file->length = fread(buffer_reserve(file, 65536), 1, 65536, input);
    fclose(input);
}

/* Asks what anybody may ask; the answers only have to be sane. */
static void use_zone(const struct zone *zone)
{
    int64_t at[2];
    for (int64_t at_s = -4000000000; at_s < 8000000000; at_s += 97000003) {
        int32_t offset_s = zone_offset(zone, at_s);
        assert_true(abs(offset_s) < ZONE_OFFSET_MAX_S);
        zone_instants(zone, at_s, at);
    }
}

static void a_damaged_file_is_an_error_and_never_a_crash(void **state)
{
    (void)state;
    static const char *const names[] = {"Europe/Berlin", "Asia/Gaza", "Pacific/Apia", "Etc/GMT+5"};
    int zones_made = 0, refused = 0;
    char path[200];
    srand(SEED);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct buffer file = {0};
        snprintf(path, sizeof path, "/usr/share/zoneinfo/%s", names[i]);
        read_whole(path, &file);
        for (size_t length = 0; length < file.length; length++) {
            /* A copy of just this size, so that a byte read past the end is noticed. */
            unsigned char *cut = malloc(length > 0 ? length : 1);
            memcpy(cut, file.data, length);
            struct rota_error error = {0};
            assert_null(zone_parse(names[i], cut, length, &error));
            assert_int_equal(error.code, ERROR_REFUSED);
            free(cut);
        }
        for (int round = 0; round < 5000; round++) {
            unsigned char *bytes = malloc(file.length);
            memcpy(bytes, file.data, file.length);
            for (int flips = 1 + rand() % 4; flips > 0; flips--) {
                /* Half of them in the two headers, where they hurt most. */
                size_t at = (size_t)rand() % (rand() % 2 == 0 ? 60 : file.length);
                bytes[at] = (unsigned char)rand();
            }
            struct zone *zone = zone_parse(names[i], bytes, file.length, NULL);
            free(bytes);
            if (zone != NULL)
                use_zone(zone);
            *(zone != NULL ? &zones_made : &refused) += 1;
            zone_unref(zone);
        }
        buffer_free(&file);
    }
    assert_true(zones_made > 0 && refused > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(offsets_agree_with_the_c_library),
        cmocka_unit_test(spans_follow_each_other_and_differ),
        cmocka_unit_test(a_local_time_has_no_one_or_two_instants),
        cmocka_unit_test(a_zone_outlives_its_cache),
        cmocka_unit_test(a_refused_name_says_what_would_be_right),
        cmocka_unit_test(utc_needs_no_file_and_tzdir_is_obeyed),
        cmocka_unit_test(every_spelling_of_a_rule_is_understood),
        cmocka_unit_test(a_wrong_rule_is_refused),
        cmocka_unit_test(a_damaged_file_is_an_error_and_never_a_crash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
