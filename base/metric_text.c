/*
 * Metrics as text: the exposition formats of Prometheus (0.0.4) and OpenMetrics (1.0.0). They
 * differ in the name of a counter's family, in the unit, and in the end of the document.
 */
#include "base/metric_int.h"

#include "base/clock.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char *const type_names[] = {"counter", "gauge", "histogram", "gauge", "gauge"};

/* A decimal without more digits than there are: 1500000 of 1000000 is 1.5. */
static void put_number(struct buffer *out, int64_t value, int64_t scale)
{
    if (scale <= 1) {
        buffer_int(out, value);
        return;
    }
    uint64_t size = value < 0 ? -(uint64_t)value : (uint64_t)value;
    buffer_format(out, "%s%llu", value < 0 ? "-" : "",
                  (unsigned long long)(size / (uint64_t)scale));
    uint64_t rest = size % (uint64_t)scale;
    if (rest != 0)
        buffer_char(out, '.');
    for (int64_t place = scale / 10; rest != 0 && place > 0; place /= 10) {
        buffer_char(out, (char)('0' + rest / (uint64_t)place));
        rest %= (uint64_t)place;
    }
}

static void put_escaped(struct buffer *out, const char *text, bool quotes)
{
    for (; *text != '\0'; text++) {
        if (*text == '\n')
            buffer_string(out, "\\n");
        else if (*text == '\\' || (quotes && *text == '"'))
            buffer_format(out, "\\%c", *text);
        else
            buffer_char(out, *text);
    }
}

static void put_labels(struct buffer *out, const struct metric *metric)
{
    char before = '{';
    for (int i = 0; i < METRIC_LABELS_MAX && metric->family->labels[i] != NULL; i++) {
        buffer_format(out, "%c%s=\"", before, metric->family->labels[i]);
        put_escaped(out, metric->values[i], true);
        buffer_char(out, '"');
        before = ',';
    }
    if (before == ',')
        buffer_char(out, '}');
}

static int64_t cell(const struct metric *metric, size_t index)
{
    return atomic_load_explicit(&metric->cells[index], memory_order_relaxed);
}

static void put_bucket(struct buffer *out, const struct metric *metric, const int64_t *bound,
                       int64_t count)
{
    const struct metric_family *family = metric->family;
    struct buffer labels = {0};
    put_labels(&labels, metric);
    buffer_format(out, "%s_bucket", family->name);
    if (labels.length > 0) {
        buffer_append(out, labels.data, labels.length - 1);
        buffer_char(out, ',');
    } else {
        buffer_char(out, '{');
    }
    buffer_string(out, "le=\"");
    if (bound == NULL)
        buffer_string(out, "+Inf");
    else
        put_number(out, *bound, family->scale);
    if (bound != NULL && (family->scale <= 1 || *bound % family->scale == 0))
        buffer_string(out, ".0"); /* as OpenMetrics writes it: the same bucket in both formats */
    buffer_string(out, "\"} ");
    buffer_int(out, count);
    buffer_char(out, '\n');
    buffer_free(&labels);
}

static void put_histogram(struct buffer *out, const struct metric *metric)
{
    const struct metric_family *family = metric->family;
    size_t rest = metric->cell_count - 2;
    int64_t count = 0;
    for (size_t i = 0; i < rest; i++) {
        count += cell(metric, i);
        put_bucket(out, metric, &family->bounds[i], count);
    }
    count += cell(metric, rest);
    put_bucket(out, metric, NULL, count);
    buffer_format(out, "%s_sum", family->name);
    put_labels(out, metric);
    buffer_char(out, ' ');
    put_number(out, cell(metric, metric->cell_count - 1), family->scale);
    buffer_format(out, "\n%s_count", family->name);
    put_labels(out, metric);
    buffer_format(out, " %lld\n", (long long)count);
}

static void put_sample(struct buffer *out, const struct metric *metric, int64_t now_boot_us)
{
    const struct metric_family *family = metric->family;
    int64_t value = cell(metric, 0), scale = family->scale;
    if (family->kind == METRIC_AGE || family->kind == METRIC_LEFT) {
        if (value == 0)
            return;
        value = family->kind == METRIC_AGE ? now_boot_us - value : value - now_boot_us;
        scale = US_PER_SECOND;
    }
    buffer_string(out, family->name);
    if (family->kind == METRIC_COUNTER)
        buffer_string(out, "_total");
    put_labels(out, metric);
    buffer_char(out, ' ');
    put_number(out, value, scale);
    buffer_char(out, '\n');
}

static const char *unit_of(const char *name)
{
    static const char *const units[] = {"_seconds", "_bytes"};
    size_t length = strlen(name);
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        size_t size = strlen(units[i]);
        if (length > size && strcmp(name + length - size, units[i]) == 0)
            return units[i] + 1;
    }
    return NULL;
}

static void put_head(struct buffer *out, const struct metric_family *family,
                     enum metric_format format)
{
    bool open = format == METRIC_OPENMETRICS;
    const char *end = family->kind == METRIC_COUNTER && !open ? "_total" : "";
    const char *unit = open ? unit_of(family->name) : NULL;
    buffer_format(out, "# HELP %s%s ", family->name, end);
    put_escaped(out, family->help, open);
    buffer_format(out, "\n# TYPE %s%s %s\n", family->name, end, type_names[family->kind]);
    if (unit != NULL)
        buffer_format(out, "# UNIT %s %s\n", family->name, unit);
}

void metric_print(const struct metric_set *set, enum metric_format format, int64_t now_boot_us,
                  struct buffer *out)
{
    for (size_t i = 0; i < set->count; i++) {
        const struct metric *child =
            atomic_load_explicit(&set->families[i].first, memory_order_acquire);
        if (child == NULL)
            continue;
        put_head(out, set->families[i].family, format);
        for (; child != NULL; child = atomic_load_explicit(&child->next, memory_order_acquire)) {
            if (child->family->kind == METRIC_HISTOGRAM)
                put_histogram(out, child);
            else
                put_sample(out, child, now_boot_us);
        }
    }
}

void metric_end(enum metric_format format, struct buffer *out)
{
    if (format == METRIC_OPENMETRICS)
        buffer_string(out, "# EOF\n");
}

/* The weight of one media range, in thousandths; -1: it is not `type`. */
static int weight(const char *range, size_t length, const char *type)
{
    size_t size = strlen(type);
    if (length < size || strncasecmp(range, type, size) != 0 ||
        (length > size && strchr(" \t;", range[size]) == NULL))
        return -1;
    for (size_t i = size; i + 2 < length; i++)
        if (strchr(" \t;", range[i]) != NULL && strncasecmp(range + i + 1, "q=", 2) == 0)
            return (int)(strtod(range + i + 3, NULL) * 1000);
    return 1000;
}

enum metric_format metric_accepted(const char *accept)
{
    int open = -1, plain = -1;
    while (accept != NULL && *accept != '\0') {
        accept += strspn(accept, " \t,");
        size_t length = strcspn(accept, ",");
        int w = weight(accept, length, "application/openmetrics-text");
        open = w > open ? w : open;
        w = weight(accept, length, "text/plain");
        plain = w > plain ? w : plain;
        accept += length;
    }
    return open > 0 && open >= plain ? METRIC_OPENMETRICS : METRIC_PROMETHEUS;
}

const char *metric_content_type(enum metric_format format)
{
    return format == METRIC_OPENMETRICS
               ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
               : "text/plain; version=0.0.4; charset=utf-8";
}
