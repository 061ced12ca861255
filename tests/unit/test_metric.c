/* Metrics: what is counted, and its text in both formats. */
#include "base/metric.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { RUNS, ROOM, TOOK, JOBS, AGE, LEFT, PLAIN, FAMILIES };

static const int64_t bounds[] = {1000, 500000, 2000000, 0};
static const struct metric_family families[FAMILIES] = {
    [RUNS] = {"runs", METRIC_COUNTER, .help = "Runs\nby \\ \"me\"."},
    [ROOM] = {"room_bytes", METRIC_GAUGE, .help = "Room."},
    [TOOK] = {"took_seconds", METRIC_HISTOGRAM, 1000000, .labels = {"kind"}, .children_max = 2,
              .bounds = bounds, .help = "Took."},
    [JOBS] = {"jobs", METRIC_COUNTER, .labels = {"status", "job"}, .children_max = 2,
              .help = "Jobs."},
    [AGE] = {"age_seconds", METRIC_AGE, .help = "Age."},
    [LEFT] = {"left_seconds", METRIC_LEFT, .help = "Left."},
    [PLAIN] = {"plain", METRIC_GAUGE, 1000000, .help = "Plain."},
};

struct fixture {
    struct metric_set *set;
    struct buffer text;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    f->set = metric_set_new(families, FAMILIES);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    metric_set_free(f->set);
    buffer_free(&f->text);
    free(f);
    return 0;
}

static struct metric *only(struct fixture *f, size_t family)
{
    return metric_child(f->set, family, NULL, NULL);
}

static const char *text(struct fixture *f, enum metric_format format)
{
    buffer_clear(&f->text);
    metric_print(f->set, format, 90500000, &f->text);
    metric_end(format, &f->text);
    return buffer_text(&f->text);
}

static void assert_has(struct fixture *f, enum metric_format format, const char *part)
{
    if (strstr(text(f, format), part) == NULL)
        fail_msg("\"%s\" is not in:\n%s", part, text(f, format));
}

static void assert_has_not(struct fixture *f, const char *part)
{
    if (strstr(text(f, METRIC_PROMETHEUS), part) != NULL)
        fail_msg("\"%s\" is in:\n%s", part, text(f, METRIC_PROMETHEUS));
}

static void counters_have_total_in_the_family_for_prometheus_only(void **state)
{
    struct fixture *f = *state;
    metric_add(only(f, RUNS), 3);
    assert_has(f, METRIC_PROMETHEUS, "# TYPE runs_total counter\nruns_total 3\n");
    assert_has(f, METRIC_OPENMETRICS, "# TYPE runs counter\nruns_total 3\n");
}

static void help_is_escaped_as_the_format_says(void **state)
{
    struct fixture *f = *state;
    assert_has(f, METRIC_PROMETHEUS, "# HELP runs_total Runs\\nby \\\\ \"me\".\n");
    assert_has(f, METRIC_OPENMETRICS, "# HELP runs Runs\\nby \\\\ \\\"me\\\".\n");
}

static void openmetrics_has_units_and_an_end(void **state)
{
    struct fixture *f = *state;
    metric_child(f->set, TOOK, "x", NULL);
    assert_has(f, METRIC_OPENMETRICS, "# UNIT room_bytes bytes\n");
    assert_has(f, METRIC_OPENMETRICS, "# UNIT took_seconds seconds\n");
    assert_string_equal(text(f, METRIC_OPENMETRICS) + f->text.length - 6, "# EOF\n");
    assert_has_not(f, "# UNIT");
    assert_has_not(f, "# EOF");
}

static void numbers_are_exact_decimals_of_the_unit(void **state)
{
    static const struct {
        int64_t kept;
        const char *printed;
    } cases[] = {
        {0, "plain 0\n"},
        {1, "plain 0.000001\n"},
        {1500000, "plain 1.5\n"},
        {-250000, "plain -0.25\n"},
        {7000000, "plain 7\n"},
        {-1, "plain -0.000001\n"},
        {INT64_MIN, "plain -9223372036854.775808\n"},
    };
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        metric_put(only(f, PLAIN), cases[i].kept);
        assert_has(f, METRIC_PROMETHEUS, cases[i].printed);
    }
}

static void buckets_count_what_is_at_most_their_bound(void **state)
{
    struct fixture *f = *state;
    struct metric *took = metric_child(f->set, TOOK, "x", NULL);
    metric_observe(took, 1000);
    metric_observe(took, 1001);
    metric_observe(took, 2000000);
    metric_observe(took, 2000001);
    metric_observe(took, -5); /* a clock that went back */
    assert_has(f, METRIC_PROMETHEUS,
               "took_seconds_bucket{kind=\"x\",le=\"0.001\"} 2\n"
               "took_seconds_bucket{kind=\"x\",le=\"0.5\"} 3\n"
               "took_seconds_bucket{kind=\"x\",le=\"2.0\"} 4\n"
               "took_seconds_bucket{kind=\"x\",le=\"+Inf\"} 5\n"
               "took_seconds_sum{kind=\"x\"} 4.002002\n"
               "took_seconds_count{kind=\"x\"} 5\n");
    assert_int_equal(metric_value(took), 5);
}

static void label_values_are_escaped(void **state)
{
    struct fixture *f = *state;
    metric_add(metric_child(f->set, JOBS, "ok", "a\"b\\c\nd"), 1);
    assert_has(f, METRIC_PROMETHEUS, "jobs_total{status=\"ok\",job=\"a\\\"b\\\\c\\nd\"} 1\n");
}

static void a_full_family_puts_the_rest_under_other(void **state)
{
    struct fixture *f = *state;
    metric_add(metric_child(f->set, JOBS, "ok", "a"), 1);
    metric_add(metric_child(f->set, JOBS, "ok", "b"), 1);
    metric_add(metric_child(f->set, JOBS, "ok", "c"), 1);
    metric_add(metric_child(f->set, JOBS, "ok", "d"), 1);
    metric_add(metric_child(f->set, JOBS, "ok", "a"), 1);
    assert_has(f, METRIC_PROMETHEUS, "jobs_total{status=\"ok\",job=\"a\"} 2\n");
    assert_has(f, METRIC_PROMETHEUS, "jobs_total{status=\"other\",job=\"other\"} 2\n");
    assert_has_not(f, "job=\"c\"");
}

static void instants_are_printed_as_ages_at_the_time_of_the_scrape(void **state)
{
    struct fixture *f = *state;
    assert_has_not(f, "\nage_seconds ");
    metric_put(only(f, AGE), 90000000);
    metric_put(only(f, LEFT), 100000000);
    assert_has(f, METRIC_PROMETHEUS, "\nage_seconds 0.5\n");
    assert_has(f, METRIC_PROMETHEUS, "\nleft_seconds 9.5\n");
    metric_put(only(f, LEFT), 90000000);
    assert_has(f, METRIC_PROMETHEUS, "\nleft_seconds -0.5\n");
}

static void families_without_a_sample_yet_with_labels_are_left_out(void **state)
{
    struct fixture *f = *state;
    assert_has_not(f, "jobs_total");
    assert_has(f, METRIC_PROMETHEUS, "# TYPE room_bytes gauge\nroom_bytes 0\n");
}

static void zeroing_keeps_the_children(void **state)
{
    struct fixture *f = *state;
    metric_add(metric_child(f->set, JOBS, "ok", "a"), 1);
    metric_zero(f->set, JOBS);
    assert_has(f, METRIC_PROMETHEUS, "jobs_total{status=\"ok\",job=\"a\"} 0\n");
}

static void the_format_is_negotiated(void **state)
{
    static const struct {
        const char *accept;
        enum metric_format format;
    } cases[] = {
        {NULL, METRIC_PROMETHEUS},
        {"", METRIC_PROMETHEUS},
        {"*/*", METRIC_PROMETHEUS},
        {"text/html", METRIC_PROMETHEUS},
        {"application/openmetrics-text", METRIC_OPENMETRICS},
        {"application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
         METRIC_OPENMETRICS},
        {"text/plain, application/openmetrics-text;q=0.5", METRIC_PROMETHEUS},
        {"application/openmetrics-text;q=0", METRIC_PROMETHEUS},
        {"application/openmetrics-textual", METRIC_PROMETHEUS},
        {"APPLICATION/OpenMetrics-Text ; q=0.9 , text/plain;q=0.8", METRIC_OPENMETRICS},
        {",,,;", METRIC_PROMETHEUS},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (metric_accepted(cases[i].accept) != cases[i].format)
            fail_msg("%s", cases[i].accept);
}

#define METRIC_TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        METRIC_TEST(counters_have_total_in_the_family_for_prometheus_only),
        METRIC_TEST(help_is_escaped_as_the_format_says),
        METRIC_TEST(openmetrics_has_units_and_an_end),
        METRIC_TEST(numbers_are_exact_decimals_of_the_unit),
        METRIC_TEST(buckets_count_what_is_at_most_their_bound),
        METRIC_TEST(label_values_are_escaped),
        METRIC_TEST(a_full_family_puts_the_rest_under_other),
        METRIC_TEST(instants_are_printed_as_ages_at_the_time_of_the_scrape),
        METRIC_TEST(families_without_a_sample_yet_with_labels_are_left_out),
        METRIC_TEST(zeroing_keeps_the_children),
        cmocka_unit_test(the_format_is_negotiated),
    };
    return cmocka_run_group_tests_name("metric", tests, NULL, NULL);
}
