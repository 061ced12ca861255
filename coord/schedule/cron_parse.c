/*
 * Reads a cron expression, strictly: what Quartz accepts by carelessness (trailing junk, long
 * names, 0W, a suffix on a range) is refused, and every refusal names the field, the text, the
 * reason and what would be right. Grammar: Quartz's CronTrigger reference; five fields: crontab(5).
 */
#include "base/text.h"
#include "coord/schedule/cron.h"
#include "coord/schedule/cron_field.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define ECHO_MAX 60 /* bytes of the user's text repeated in an error */

const char *const cron_month_names[12] = {"January",   "February", "March",    "April",
                                          "May",       "June",     "July",     "August",
                                          "September", "October",  "November", "December"};
const char *const cron_weekday_names[7] = {"Sunday",   "Monday", "Tuesday", "Wednesday",
                                           "Thursday", "Friday", "Saturday"};

static const struct cron_field quartz_fields[CRON_FIELDS] = {
    [CRON_SECOND] = {"second", 0, 59, 59, 59, 59, NULL, "0 to 59"},
    [CRON_MINUTE] = {"minute", 0, 59, 59, 59, 59, NULL, "0 to 59"},
    [CRON_HOUR] = {"hour", 0, 23, 23, 23, 23, NULL, "0 to 23"},
    /* H stops at 28, so that a monthly schedule fires in every month. */
    [CRON_DAY] = {"day of month", 1, 31, 31, 31, 28, NULL, "1 to 31"},
    [CRON_MONTH] = {"month", 1, 12, 12, 12, 12, cron_month_names, "1 to 12 or JAN to DEC"},
    [CRON_WEEKDAY] = {"day of week", 1, 7, 7, 7, 7, cron_weekday_names,
                      "1 (Sunday) to 7 (Saturday) or SUN to SAT"},
    [CRON_YEAR] = {"year", CRON_FIRST_YEAR, CRON_LAST_YEAR, CRON_LAST_YEAR,
                   CRON_LAST_YEAR - CRON_FIRST_YEAR, CRON_LAST_YEAR, NULL, "1970 to 2199"},
};
static const struct cron_field unix_weekday = {
    "day of week", 0, 6, 7, 7, 6, cron_weekday_names, "0 to 7 (0 and 7 are Sunday) or SUN to SAT"};

const struct cron_field *cron_field(enum cron_field_id id, bool is_unix)
{
    return is_unix && id == CRON_WEEKDAY ? &unix_weekday : &quartz_fields[id];
}

struct parser {
    struct cron *cron;
    const char *expression; /* as given, for errors */
    bool is_unix;
    uint64_t seed_hash;
    enum cron_field_id id;
    const struct cron_field *field;
    struct slice text; /* of the field */
    const char *item;
    const char *at;  /* within the item */
    const char *end; /* of the item */
    struct cron_set set;
    struct rota_error *error;
};

/* For one line of text: no control characters, no bytes that may not be UTF-8, not too long. */
static const char *echo(struct slice text, char copy[ECHO_MAX + 4])
{
    size_t length = text.length <= ECHO_MAX ? text.length : ECHO_MAX;
    for (size_t i = 0; i < length; i++)
        copy[i] = isprint((unsigned char)text.data[i]) ? text.data[i] : '?';
    snprintf(copy + length, 4, "%s", text.length > ECHO_MAX ? "..." : "");
    return copy;
}

static int refuse_expression(struct parser *parser, const char *reason)
{
    char copy[ECHO_MAX + 4];
    return error_set(parser->error, ERROR_REFUSED, "cron \"%s\": %s",
                     echo(slice_of(parser->expression), copy), reason);
}

/* Names the field and the text at fault; the reason ends with what would be right. */
static int refuse_text(struct parser *parser, struct slice text, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static int refuse_text(struct parser *parser, struct slice text, const char *format, ...)
{
    char whole[ECHO_MAX + 4], part[ECHO_MAX + 4], reason[400];
    va_list args;
    va_start(args, format);
    vsnprintf(reason, sizeof reason, format, args);
    va_end(args);
    return error_set(parser->error, ERROR_REFUSED, "cron \"%s\": %s \"%s\": %s",
                     echo(slice_of(parser->expression), whole), parser->field->name,
                     echo(text, part), reason);
}

#define refuse(parser, ...)                                                                        \
    refuse_text(parser, (struct slice){(parser)->item, (size_t)((parser)->end - (parser)->item)},  \
                __VA_ARGS__)

static char peek(const struct parser *parser)
{
    return parser->at < parser->end ? *parser->at : '\0';
}

static bool take(struct parser *parser, char wanted)
{
    bool there = parser->at < parser->end && *parser->at == wanted;
    parser->at += there;
    return there;
}

static int refuse_rest(struct parser *parser)
{
    char copy[ECHO_MAX + 4];
    struct slice rest = {parser->at, (size_t)(parser->end - parser->at)};
    if (parser->is_unix && strchr("LW#", peek(parser)) != NULL)
        return refuse(parser, "L, W and # are not known in five fields: write six, second first");
    return refuse(
        parser,
        "unexpected \"%s\": expected a value (%s), a range a-b, a step /n, or a list of these",
        echo(rest, copy), parser->field->expects);
}

static int take_number(struct parser *parser)
{
    int number = 0;
    while (isdigit((unsigned char)peek(parser))) {
        number = number * 10 + (*parser->at++ - '0');
        if (number > 100000)
            number = 100000; /* out of any range, and does not overflow */
    }
    return number;
}

static int parse_name(struct parser *parser, int *ret_number)
{
    const struct cron_field *field = parser->field;
    int count = field->high - field->low + 1;
    if (parser->end - parser->at >= 3)
        for (int i = 0; i < count; i++)
            if (strncasecmp(parser->at, field->names[i], 3) == 0) {
                parser->at += 3;
                *ret_number = field->low + i;
                return 0;
            }
    return refuse(parser, "unknown name: expected %s", field->expects);
}

/* One number or name. */
static int parse_value(struct parser *parser, int *ret_number, bool *ret_named)
{
    const struct cron_field *field = parser->field;
    *ret_named = isalpha((unsigned char)peek(parser)) && field->names != NULL;
    if (*ret_named)
        return parse_name(parser, ret_number);
    if (!isdigit((unsigned char)peek(parser)))
        return refuse(parser, "a value is missing or no number: expected %s", field->expects);
    *ret_number = take_number(parser);
    if (*ret_number < field->low || *ret_number > field->number_max)
        return refuse(parser, "out of range: expected %s", field->expects);
    return 0;
}

/* "/n", if it is there; 1 if not. */
static int parse_step(struct parser *parser, int *ret_step)
{
    *ret_step = 1;
    if (!take(parser, '/'))
        return 0;
    if (!isdigit((unsigned char)peek(parser)))
        return refuse(parser, "no number after \"/\": expected a step of 1 to %d",
                      parser->field->step_max);
    *ret_step = take_number(parser);
    if (*ret_step < 1 || *ret_step > parser->field->step_max)
        return refuse(parser, "the step is out of range: expected 1 to %d",
                      parser->field->step_max);
    return 0;
}

/* The rest of "a-b" after a: how many values there are from a to b, going round if b is smaller. */
static int parse_range_end(struct parser *parser, int first, bool first_named, int *ret_count)
{
    const struct cron_field *field = parser->field;
    int last = 0, size = field->high - field->low + 1;
    bool named = false;
    if (parse_value(parser, &last, &named) != 0)
        return -1;
    if (named != first_named)
        return refuse(parser, "a name and a number in one range: write both the same way");
    if (last < first && parser->id == CRON_YEAR)
        return refuse(parser, "years do not go round: expected the earlier year first");
    int count = last - first + 1 + (last < first ? size : 0);
    *ret_count = count < size ? count : size;
    return 0;
}

/* Adds first + offset, then every step-th, of `count` values in a row; past the highest it goes on
 * with the lowest. */
static void add_values(struct parser *parser, int first, int count, int offset, int step)
{
    int low = parser->field->low, size = parser->field->high - low + 1;
    for (int i = offset; i < count; i += step) {
        int place = (first - low + i) % size;
        parser->set.bits[place / 64] |= UINT64_C(1) << place % 64;
    }
}

/* A place below `size` that depends on the seed and the field alone, for ever. */
static int spread(const struct parser *parser, int size)
{
    char key[32];
    int length = snprintf(key, sizeof key, "%016llx %d", (unsigned long long)parser->seed_hash,
                          (int)parser->id);
    return (int)(text_hash(key, (size_t)length) % (uint64_t)size);
}

/* H, H/n, H(a-b), H(a-b)/n */
static int parse_hash(struct parser *parser)
{
    int first = parser->field->low, count = parser->field->hash_high - first + 1, step;
    bool named, stepped;
    parser->at++;
    if (take(parser, '(')) {
        if (parse_value(parser, &first, &named) != 0)
            return -1;
        if (!take(parser, '-'))
            return refuse(parser, "no range in the brackets: expected H(a-b)");
        if (parse_range_end(parser, first, named, &count) != 0)
            return -1;
        if (!take(parser, ')'))
            return refuse(parser, "the bracket is not closed after the range: expected H(a-b)");
    }
    stepped = peek(parser) == '/';
    if (parse_step(parser, &step) != 0)
        return -1;
    if (parser->at < parser->end)
        return refuse_rest(parser);
    int size = stepped && step < count ? step : count;
    add_values(parser, first, count, spread(parser, size), stepped ? step : count);
    return 0;
}

/* L, LW, L-n, L-nW in the day of the month */
static int parse_last_day(struct parser *parser)
{
    int back = 0;
    parser->at++;
    if (take(parser, '-')) {
        if (!isdigit((unsigned char)peek(parser)))
            return refuse(parser,
                          "no number after \"L-\": expected L-n with 0 to 30 days before the "
                          "last");
        back = take_number(parser);
        if (back > 30)
            return refuse(parser, "out of range: expected L-n with 0 to 30 days before the last");
    }
    bool nearest = take(parser, 'W');
    if (parser->at < parser->end)
        return refuse(parser, "expected L, LW, L-n or L-nW");
    *(nearest ? &parser->cron->last_nearest : &parser->cron->last) |= 1u << back;
    return 0;
}

static int parse_weekday_suffix(struct parser *parser, int weekday)
{
    int nth = CRON_NTH_LAST;
    if (take(parser, '#')) {
        const char *digits = parser->at;
        nth = take_number(parser);
        if (parser->at == digits || nth < 1 || nth > 5)
            return refuse(parser, "expected a number from 1 to 5 after \"#\", as in 6#3 or FRI#3");
    } else {
        parser->at++; /* the L */
    }
    if (parser->at < parser->end)
        return refuse_rest(parser);
    parser->set.is_special = true;
    parser->cron->weekday_nth = (uint8_t)nth;
    add_values(parser, weekday, 1, 0, 1);
    return 0;
}

/* A value or range, with its step or suffix. */
static int parse_values(struct parser *parser)
{
    int first, count = 1, step;
    bool named, range;
    if (parse_value(parser, &first, &named) != 0)
        return -1;
    if (!parser->is_unix && parser->id == CRON_DAY && take(parser, 'W')) {
        if (parser->at < parser->end)
            return refuse_rest(parser);
        parser->cron->nearest |= 1u << (first - 1);
        return 0;
    }
    if (!parser->is_unix && parser->id == CRON_WEEKDAY &&
        (peek(parser) == '#' || peek(parser) == 'L'))
        return parse_weekday_suffix(parser, first);
    range = take(parser, '-');
    if (range && parse_range_end(parser, first, named, &count) != 0)
        return -1;
    if (peek(parser) == '/') {
        /* Quartz ignores a step behind a name, so whoever wrote one may mean either. */
        if (named && !parser->is_unix)
            return refuse(parser, "a step behind a name: write the numbers, %s",
                          parser->field->expects);
        if (!range)
            count = parser->field->high - first % (parser->field->high + 1) + 1;
    }
    if (parse_step(parser, &step) != 0)
        return -1;
    if (parser->at < parser->end)
        return refuse_rest(parser);
    add_values(parser, first, count, 0, step);
    return 0;
}

/* "*", "*" "/n", and Quartz's "/n". */
static int parse_star(struct parser *parser)
{
    int step, low = parser->field->low;
    bool star = take(parser, '*');
    if (!star && parser->is_unix)
        return refuse(parser, "nothing before the \"/\": expected */n or a-b/n");
    parser->set.is_star = parser->at == parser->end && parser->text.length == 1;
    if (parse_step(parser, &step) != 0)
        return -1;
    if (parser->at < parser->end)
        return refuse_rest(parser);
    add_values(parser, low, parser->field->high - low + 1, 0, step);
    return 0;
}

static int parse_last(struct parser *parser)
{
    bool is_day = parser->id == CRON_DAY;
    if (!is_day && parser->id != CRON_WEEKDAY)
        return refuse(parser, "L belongs to the day fields only: expected %s",
                      parser->field->expects);
    if (parser->is_unix)
        return refuse(parser, "L is not known in five fields: write six, such as 0 0 12 L * ?");
    if (is_day)
        return parse_last_day(parser);
    if (parser->end - parser->item > 1)
        return refuse(parser, "expected L (Saturday), or a weekday before it as in 6L or FRIL");
    parser->set.is_special = true;
    add_values(parser, parser->field->high, 1, 0, 1);
    return 0;
}

static int parse_item(struct parser *parser)
{
    bool is_days = parser->id == CRON_DAY || parser->id == CRON_WEEKDAY;
    if (parser->at == parser->end)
        return refuse_text(parser, parser->text,
                           "an empty place in the list: expected values between the commas");
    switch (*parser->at) {
    case '?':
        if (!is_days)
            return refuse(parser, "? belongs to the day fields only: expected * or %s",
                          parser->field->expects);
        if (parser->text.length > 1)
            return refuse_text(parser, parser->text, "? must stand alone");
        parser->set.is_question = true;
        return 0;
    case '*':
    case '/':
        return parse_star(parser);
    case 'H':
        return parse_hash(parser);
    case 'L':
        return parse_last(parser);
    default:
        return parse_values(parser);
    }
}

static int check_alone(struct parser *parser)
{
    if (parser->set.is_special && memchr(parser->text.data, ',', parser->text.length) != NULL)
        return refuse_text(parser, parser->text,
                           "L and # must stand alone: expected one of them, or a plain list; use "
                           "two triggers");
    return 0;
}

static int parse_field(struct parser *parser, enum cron_field_id id, struct slice text)
{
    const char *end = text.data + text.length;
    parser->id = id;
    parser->field = cron_field(id, parser->is_unix);
    parser->text = text;
    parser->set = (struct cron_set){0};
    for (parser->item = text.data;; parser->item = parser->end + 1) {
        const char *comma = memchr(parser->item, ',', (size_t)(end - parser->item));
        parser->at = parser->item;
        parser->end = comma != NULL ? comma : end;
        if (parse_item(parser) != 0)
            return -1;
        if (comma == NULL)
            return check_alone(parser);
    }
}

/* Both day fields given would be "or" to some readers and "and" to others. */
static int settle_days(struct parser *parser, const struct cron_set *days,
                       const struct cron_set *weekdays)
{
    struct cron *cron = parser->cron;
    bool by_date = !days->is_star && !days->is_question;
    bool by_weekday = !weekdays->is_star && !weekdays->is_question;
    if (by_date && by_weekday)
        return refuse_expression(parser,
                                 "day of month and day of week are both given: use two triggers, "
                                 "with ? in the other of the two fields");
    if (days->is_question && weekdays->is_question)
        return refuse_expression(parser,
                                 "day of month and day of week are both ?: expected days in "
                                 "one of them, or * for every day");
    cron->days_by = CRON_EVERY_DAY;
    if (by_date && cron->days != UINT32_MAX >> 1)
        cron->days_by = CRON_DAYS_OF_MONTH;
    if (by_weekday && (cron->weekdays != 0x7f || cron->weekday_nth != 0))
        cron->days_by = CRON_WEEKDAYS;
    return 0;
}

/* Splits at blanks. The number of fields, however many fit. */
static int split(const char *text, struct slice fields[CRON_FIELDS])
{
    int count = 0;
    for (;;) {
        text += strspn(text, " \t");
        if (*text == '\0')
            return count;
        size_t length = strcspn(text, " \t");
        if (count < CRON_FIELDS)
            fields[count] = (struct slice){text, length};
        count++;
        text += length;
    }
}

static void keep_set(struct cron *cron, enum cron_field_id id, const struct cron_set *set)
{
    switch (id) {
    case CRON_SECOND:
        cron->seconds = set->bits[0];
        break;
    case CRON_MINUTE:
        cron->minutes = set->bits[0];
        break;
    case CRON_HOUR:
        cron->hours = (uint32_t)set->bits[0];
        break;
    case CRON_DAY:
        cron->days = (uint32_t)set->bits[0];
        break;
    case CRON_MONTH:
        cron->months = (uint16_t)set->bits[0];
        break;
    case CRON_WEEKDAY:
        cron->weekdays = (uint8_t)set->bits[0];
        break;
    default:
        memcpy(cron->years, set->bits, sizeof cron->years);
    }
}

static int parse_fields(struct parser *parser, const char *text)
{
    struct slice fields[CRON_FIELDS];
    struct cron_set days = {0}, weekdays = {0};
    int count = split(text, fields);
    if (count < 5 || count > 7) {
        char reason[160];
        snprintf(reason, sizeof reason,
                 "%d field%s: expected 5 (minute hour day month weekday), 6 (second in front) or 7 "
                 "(year at the end)",
                 count, count == 1 ? "" : "s");
        return refuse_expression(parser, reason);
    }
    parser->is_unix = count == 5;
    parser->cron->seconds = 1;
    memset(parser->cron->years, 0xff, sizeof parser->cron->years);
    for (int i = 0; i < count; i++) {
        enum cron_field_id id = (enum cron_field_id)(i + parser->is_unix);
        if (parse_field(parser, id, fields[i]) != 0)
            return -1;
        keep_set(parser->cron, id, &parser->set);
        if (id == CRON_DAY)
            days = parser->set;
        if (id == CRON_WEEKDAY)
            weekdays = parser->set;
    }
    return settle_days(parser, &days, &weekdays);
}

/* The expression behind a macro; NULL with an error. */
static const char *expand_macro(struct parser *parser, const char *name)
{
    static const char *const names[] = {"@yearly", "@annually", "@monthly", "@weekly",
                                        "@daily",  "@midnight", "@hourly"};
    static const char *const meanings[] = {"0 0 1 1 *", "0 0 1 1 *", "0 0 1 * *", "0 0 * * 0",
                                           "0 0 * * *", "0 0 * * *", "0 * * * *"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcasecmp(name, names[i]) == 0)
            return meanings[i];
    refuse_expression(parser, "no such macro: expected @yearly, @annually, @monthly, @weekly, "
                              "@daily, @midnight or @hourly");
    return NULL;
}

int cron_parse(struct cron *ret_cron, const char *expression, const struct zone *zone,
               const char *seed, struct rota_error *error)
{
    struct cron cron = {.zone = zone};
    struct parser parser = {.cron = &cron, .expression = expression, .error = error};
    char upper[CRON_LENGTH_MAX + 1];
    size_t length = strnlen(expression, CRON_LENGTH_MAX + 1);
    if (length > CRON_LENGTH_MAX)
        return refuse_expression(&parser, "longer than 1000 characters: use several triggers");
    while (length > 0 && strchr(" \t", expression[length - 1]) != NULL)
        length--;
    size_t blank = strspn(expression, " \t");
    size_t kept = blank < length ? length - blank : 0;
    for (size_t i = 0; i < kept; i++)
        upper[i] = (char)toupper((unsigned char)expression[blank + i]);
    upper[kept] = '\0';
    parser.seed_hash = seed != NULL ? text_hash(seed, strlen(seed)) : text_hash("", 0);
    const char *text = upper[0] == '@' ? expand_macro(&parser, upper) : upper;
    if (text == NULL || parse_fields(&parser, text) != 0)
        return -1;
    cron_set_clock_change(&cron, ZONE_GAP_DEFAULT, ZONE_OVERLAP_DEFAULT);
    *ret_cron = cron;
    return 0;
}
