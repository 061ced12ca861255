/* Values of a manifest by a table of keys: see manifest_value.h. */
#include "coord/manifest_value.h"

#include "base/clock.h"
#include "base/instant.h"
#include "base/memory.h"
#include "base/text.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINE_SIZE   1000 /* of one problem */
#define SHOWN_BYTES 80   /* of a value quoted in a problem */

/* --- problems -------------------------------------------------------------------------------- */

__attribute__((format(printf, 4, 0))) static void add_problem(struct manifest_set *set,
                                                              const struct manifest *manifest,
                                                              size_t offset, const char *format,
                                                              va_list args)
{
    struct manifest_problems *problems = &set->problems;
    if (problems->count++ >= MANIFEST_PROBLEMS_MAX)
        return;
    int line, column;
    char text[LINE_SIZE];
    struct json json = {.text = manifest->text, .length = manifest->length};
    struct json_value at = {.raw = {manifest->text + offset, 0}};
    json_position(&json, &at, &line, &column);
    vsnprintf(text, sizeof text, format, args);
    problems->lines[problems->count - 1] =
        mem_format("%s:%d:%d: %s", manifest->file, line, column, text);
}

void manifest_problem_at(struct manifest_set *set, const struct manifest *manifest, size_t offset,
                         const char *format, ...)
{
    va_list args;
    va_start(args, format);
    add_problem(set, manifest, offset, format, args);
    va_end(args);
}

void manifest_problem(struct manifest_reader *reader, const struct json_value *at,
                      const char *format, ...)
{
    va_list args;
    va_start(args, format);
    add_problem(reader->set, reader->manifest, (size_t)(at->raw.data - reader->json.text), format,
                args);
    va_end(args);
}

bool manifest_full(const struct manifest_reader *reader)
{
    return reader->set->problems.count >= MANIFEST_PROBLEMS_MAX;
}

const char *manifest_shown(const struct json_value *value, char shown[MANIFEST_WHAT_SIZE])
{
    if (value->type == JSON_ARRAY || value->type == JSON_OBJECT)
        return json_type_name(value->type);
    size_t length = value->raw.length;
    bool cut = length > SHOWN_BYTES;
    if (cut)
        for (length = SHOWN_BYTES; (value->raw.data[length] & 0xc0) == 0x80;)
            length--;
    snprintf(shown, MANIFEST_WHAT_SIZE, "%.*s%s", (int)length, value->raw.data, cut ? "…" : "");
    return shown;
}

/* --- what would be right --------------------------------------------------------------------- */

static void list_choices(struct buffer *out, const struct manifest_key *key)
{
    for (const char *const *choice = key->choices + key->low; *choice != NULL; choice++) {
        if (choice != key->choices + key->low)
            buffer_string(out, choice[1] == NULL ? " or " : ", ");
        buffer_format(out, "\"%s\"", *choice);
    }
}

static void describe(struct buffer *out, const struct manifest_key *key)
{
    char low[TIME_TEXT_SIZE], high[TIME_TEXT_SIZE];
    switch (key->type) {
    case KEY_NAME:
    case KEY_TEXT:
        buffer_format(out, "a string of %lld to %lld characters%s", (long long)key->low,
                      (long long)key->high,
                      key->type == KEY_NAME ? " without control characters" : "");
        return;
    case KEY_FLAG:
        buffer_string(out, "true or false");
        return;
    case KEY_NUMBER:
        buffer_format(out, "a whole number from %lld to %lld", (long long)key->low,
                      (long long)key->high);
        return;
    case KEY_FRACTION:
        buffer_string(out, "a number from 0 to 1");
        return;
    case KEY_DURATION:
    case KEY_DURATION_MS:
        buffer_format(out,
                      "a duration from %s to %s such as \"250ms\", \"90s\", \"5m\" or \"PT1H\"",
                      duration_format(key->low, low), duration_format(key->high, high));
        return;
    case KEY_INSTANT:
        buffer_string(out, "an instant with its zone (RFC 3339) such as "
                           "\"2030-12-24T18:00:00+01:00\"");
        return;
    case KEY_CHOICE:
        list_choices(out, key);
        return;
    case KEY_DATA:
        buffer_string(out, "an object");
        return;
    case KEY_VALUE:
    case KEY_LATER:
        break;
    }
    abort();
}

static void refuse(struct manifest_reader *reader, const struct json_value *value, const char *what,
                   const struct manifest_key *key)
{
    struct buffer right = {0};
    char shown[MANIFEST_WHAT_SIZE];
    if (manifest_full(reader)) {
        reader->set->problems.count++;
        return;
    }
    describe(&right, key);
    if (key->type == KEY_CHOICE && value->type == JSON_STRING) {
        char *word = json_text(value);
        size_t count = 0;
        while (key->choices[key->low + (int64_t)count] != NULL)
            count++;
        const char *nearest =
            word != NULL ? text_nearest(word, key->choices + key->low, count) : NULL;
        if (nearest != NULL)
            buffer_format(&right, " (did you mean \"%s\"?)", nearest);
        free(word);
    }
    manifest_problem(reader, value, "%s: \"%s\" must be %s, not %s", what, key->name,
                     buffer_text(&right), manifest_shown(value, shown));
    buffer_free(&right);
}

/* --- values ---------------------------------------------------------------------------------- */

/* Characters of valid UTF-8; -1 when there is a control character that may not be. */
static int64_t count_characters(const char *text, bool one_line)
{
    int64_t count = 0;
    for (; *text != '\0'; text++) {
        unsigned char byte = (unsigned char)*text;
        if (byte == 0x7f || (byte < 0x20 && (one_line || strchr("\n\r\t", byte) == NULL)))
            return -1;
        count += (byte & 0xc0) != 0x80;
    }
    return count;
}

static int read_text(const struct json_value *value, const struct manifest_key *key, char **field)
{
    if (value->type != JSON_STRING)
        return -1;
    char *text = json_text(value);
    int64_t length = text != NULL ? count_characters(text, key->type == KEY_NAME) : -1;
    if (length < key->low || length > key->high) {
        free(text);
        return -1;
    }
    free(*field);
    *field = text;
    return 0;
}

static int read_flag(const struct json_value *value, int64_t *field)
{
    if (value->type != JSON_BOOL)
        return -1;
    *field = json_true(value);
    return 0;
}

static int read_number(const struct json_value *value, const struct manifest_key *key,
                       int64_t *field)
{
    int64_t number;
    if (json_int64(value, &number) != 0 || number < key->low || number > key->high)
        return -1;
    *field = number;
    return 0;
}

static int read_fraction(const struct json_value *value, double *field)
{
    double number;
    if (json_double(value, &number) != 0 || !(number >= 0 && number <= 1))
        return -1;
    *field = number;
    return 0;
}

static int read_duration(const struct json_value *value, const struct manifest_key *key,
                         int64_t *field)
{
    int64_t duration_us;
    char *text = value->type == JSON_STRING ? json_text(value) : NULL;
    int failed = text == NULL ? -1 : duration_parse(text, &duration_us);
    free(text);
    if (failed != 0 || duration_us < key->low || duration_us > key->high)
        return -1;
    *field = key->type == KEY_DURATION ? duration_us : (duration_us + US_PER_MS - 1) / US_PER_MS;
    return 0;
}

static int read_instant(const struct json_value *value, int64_t *field)
{
    int64_t wall_us;
    char *text = value->type == JSON_STRING ? json_text(value) : NULL;
    int failed = text == NULL ? -1 : instant_parse(text, &wall_us);
    free(text);
    if (failed != 0)
        return -1;
    int64_t below_ms = wall_us % US_PER_MS;
    *field = wall_us - below_ms - (below_ms < 0 ? US_PER_MS : 0);
    return 0;
}

static int read_choice(const struct json_value *value, const struct manifest_key *key,
                       int64_t *field)
{
    for (int64_t i = key->low; key->choices[i] != NULL; i++) {
        if (json_is(value, key->choices[i])) {
            *field = i;
            return 0;
        }
    }
    return -1;
}

static int read_data(struct manifest_reader *reader, const struct json_value *value,
                     const char *what, const struct manifest_key *key, struct slice *field)
{
    if (value->type != JSON_OBJECT)
        return -1;
    if (value->raw.length > MANIFEST_DATA_MAX)
        manifest_problem(reader, value,
                         "%s: \"%s\" has %zu bytes, at most %u are allowed; put it in a file or a "
                         "table and give its name",
                         what, key->name, value->raw.length, MANIFEST_DATA_MAX);
    *field = value->count > 0 ? value->raw : SLICE_NONE;
    return 0;
}

static void read_member(struct manifest_reader *reader, const struct json_value *at,
                        const char *what, const struct manifest_key *key, void *into)
{
    const struct json_value *value = json_member(at);
    void *field = (char *)into + key->offset;
    int failed = 0;
    switch (key->type) {
    case KEY_NAME:
    case KEY_TEXT:
        failed = read_text(value, key, field);
        break;
    case KEY_FLAG:
        failed = read_flag(value, field);
        break;
    case KEY_NUMBER:
        failed = read_number(value, key, field);
        break;
    case KEY_FRACTION:
        failed = read_fraction(value, field);
        break;
    case KEY_DURATION:
    case KEY_DURATION_MS:
        failed = read_duration(value, key, field);
        break;
    case KEY_INSTANT:
        failed = read_instant(value, field);
        break;
    case KEY_CHOICE:
        failed = read_choice(value, key, field);
        break;
    case KEY_DATA:
        failed = read_data(reader, value, what, key, field);
        break;
    case KEY_VALUE:
        *(const struct json_value **)field = value;
        break;
    case KEY_LATER:
        manifest_problem(reader, at,
                         "%s: \"%s\" is not supported by this version yet; leave it out", what,
                         key->name);
        break;
    }
    if (failed != 0)
        refuse(reader, value, what, key);
}

/* --- keys ------------------------------------------------------------------------------------ */

static void refuse_key(struct manifest_reader *reader, const struct json_value *at,
                       const char *what, const struct manifest_key *keys, size_t key_count)
{
    const char *names[64];
    struct buffer hint = {0};
    char shown[MANIFEST_WHAT_SIZE];
    size_t count = 0;
    if (manifest_full(reader)) {
        reader->set->problems.count++;
        return;
    }
    assert(key_count <= sizeof names / sizeof *names);
    for (size_t i = 0; i < key_count; i++)
        if (keys[i].type != KEY_LATER)
            names[count++] = keys[i].name;
    char *word = json_text(at);
    const char *nearest = word != NULL ? text_nearest(word, names, count) : NULL;
    if (nearest != NULL) {
        buffer_format(&hint, "did you mean \"%s\"?", nearest);
    } else {
        buffer_string(&hint, "known keys: ");
        for (size_t i = 0; i < count; i++)
            buffer_format(&hint, "%s%s", i > 0 ? ", " : "", names[i]);
    }
    manifest_problem(reader, at, "%s: unknown key %s; %s", what, manifest_shown(at, shown),
                     buffer_text(&hint));
    buffer_free(&hint);
    free(word);
}

void manifest_read(struct manifest_reader *reader, const struct json_value *object,
                   const char *what, const struct manifest_key *keys, size_t key_count, void *into)
{
    for (const struct json_value *at = json_first(&reader->json, object); at != NULL;
         at = json_next(&reader->json, at)) {
        size_t i = 0;
        while (i < key_count && !json_is(at, keys[i].name))
            i++;
        if (i < key_count)
            read_member(reader, at, what, &keys[i], into);
        else
            refuse_key(reader, at, what, keys, key_count);
    }
}

/* --- objects --------------------------------------------------------------------------------- */

bool manifest_is_object(struct manifest_reader *reader, const struct json_value *value,
                        const char *what)
{
    if (value->type == JSON_OBJECT)
        return true;
    manifest_problem(reader, value, "%s must be an object, not %s", what,
                     json_type_name(value->type));
    return false;
}

const struct json_value *manifest_elements(struct manifest_reader *reader,
                                           const struct json_value *array, const char *what,
                                           const char *key, const char *of)
{
    if (array == NULL)
        return NULL;
    if (array->type != JSON_ARRAY) {
        manifest_problem(reader, array, "%s: \"%s\" must be an array of %s, not %s", what, key, of,
                         json_type_name(array->type));
        return NULL;
    }
    return json_first(&reader->json, array);
}

void manifest_title(struct manifest_reader *reader, const struct json_value *object,
                    const char *noun, size_t number, char what[MANIFEST_WHAT_SIZE])
{
    char shown[MANIFEST_WHAT_SIZE];
    const struct json_value *name = json_get(&reader->json, object, "name");
    if (name != NULL && name->type == JSON_STRING)
        snprintf(what, MANIFEST_WHAT_SIZE, "%s %s", noun, manifest_shown(name, shown));
    else
        snprintf(what, MANIFEST_WHAT_SIZE, "%s %zu", noun, number);
}

void manifest_want(struct manifest_reader *reader, const struct json_value *object,
                   const char *what, const char *key, const char *hint)
{
    if (json_get(&reader->json, object, key) == NULL)
        manifest_problem(reader, object, "%s has no \"%s\"; %s", what, key, hint);
}

size_t manifest_offset(const struct manifest_reader *reader, const struct json_value *value)
{
    return (size_t)(value->raw.data - reader->manifest->text);
}
