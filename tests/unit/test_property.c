/* That a random case which fails is made as small as it can be, and is found again by its seed. */
#include "tests/unit/property.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <string.h>

/* A list of numbers: each is a part with the choice that there is one, so that it can be left out.
 */
static int draw_list(int64_t list[50], struct buffer *why)
{
    int count = 0;
    bool more = true;
    while (more && count < 50) {
        part_begin();
        more = below(20) > 0;
        if (more) {
            list[count] = below(1000000);
            buffer_format(why, "%lld ", (long long)list[count++]);
        }
        part_end();
    }
    return count;
}

static bool none_is_large(void *arg, int64_t number, struct buffer *why)
{
    int64_t list[50];
    (void)number;
    int count = draw_list(list, why);
    for (int i = 0; i < count; i++)
        if (list[i] >= *(const int64_t *)arg)
            return false;
    return true;
}

static bool list_is_in_order(void *arg, int64_t number, struct buffer *why)
{
    int64_t list[50];
    (void)number;
    (void)arg;
    int count = draw_list(list, why);
    for (int i = 1; i < count; i++)
        if (list[i] < list[i - 1])
            return false;
    return true;
}

static bool flag_is_off(void *arg, int64_t number, struct buffer *why)
{
    int64_t zone = chosen(600, number % 600), least = below(100), more = below(1000);
    bool flag = one_in(3), other = one_in(3);
    (void)arg;
    buffer_format(why, "zone %lld least %lld more %lld flag %d other %d", (long long)zone,
                  (long long)least, (long long)more, flag, other);
    return zone < 77 || !flag || more <= least;
}

static void check(property holds, int64_t limit, const char *smallest)
{
    struct buffer why = {0};
    assert_false(property_holds(holds, &limit, 100000, &why));
    if (strncmp(buffer_text(&why), smallest, strlen(smallest)) != 0)
        fail_msg("expected \"%s…\", got \"%s\"", smallest, buffer_text(&why));
    buffer_free(&why);
}

static void a_failing_case_is_made_as_small_as_it_can_be(void **state)
{
    (void)state;
    random_seed();
    check(none_is_large, 1000, "1000 \n");
    check(none_is_large, 999900, "999900 \n");
    check(list_is_in_order, 0, "1 0 \n");
    check(flag_is_off, 0, "zone 77 least 0 more 1 flag 1 other 0\n");
}

static void what_holds_is_found_to_hold(void **state)
{
    struct buffer why = {0};
    int64_t limit = 1000000;
    (void)state;
    random_seed();
    assert_true(property_holds(none_is_large, &limit, 1000, &why));
    buffer_free(&why);
}

static bool remember(void *arg, int64_t number, struct buffer *why)
{
    int64_t *values = arg;
    (void)why;
    values[number] = below(INT64_MAX);
    return true;
}

static void a_seed_gives_the_same_cases_again(void **state)
{
    int64_t once[100], again[100];
    struct buffer why = {0};
    (void)state;
    random_seed();
    assert_true(property_holds(remember, once, 100, &why));
    random_seed();
    assert_true(property_holds(remember, again, 100, &why));
    assert_memory_equal(once, again, sizeof once);
    for (int i = 1; i < 100; i++)
        assert_int_not_equal(once[0], once[i]);
    buffer_free(&why);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_failing_case_is_made_as_small_as_it_can_be),
        cmocka_unit_test(what_holds_is_found_to_hold),
        cmocka_unit_test(a_seed_gives_the_same_cases_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
