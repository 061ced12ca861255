/*
 * Random JSON texts: whatever bytes come, the reader takes them exactly when a second, differently
 * made recogniser does, and what it took is a sound tree.
 */
#include "base/json.h"

#include "base/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(table) (sizeof(table) / sizeof *(table))

static uint64_t seed = 42;

static unsigned below(unsigned limit)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)((seed >> 33) % limit);
}

static const char *const atoms[] = {"0",
                                    "-1",
                                    "12.5",
                                    "1e9",
                                    "-0.0E-7",
                                    "true",
                                    "false",
                                    "null",
                                    "\"\"",
                                    "\"a\"",
                                    "\"\\n\\u00e9\"",
                                    "\"\\ud83d\\ude00\"",
                                    "\"\xc3\xa9\"",
                                    "18446744073709551616"};
static const char *const spaces[] = {"", "", "", " ", "\n", "\t ", "\r\n"};

static void put_random(struct buffer *out, int depth)
{
    unsigned kind = depth > 5 ? 0 : below(4), count = below(4);
    buffer_string(out, spaces[below(COUNT(spaces))]);
    if (kind < 2) {
        buffer_string(out, atoms[below(COUNT(atoms))]);
    } else {
        buffer_char(out, kind == 2 ? '[' : '{');
        for (unsigned i = 0; i < count; i++) {
            if (i > 0)
                buffer_char(out, ',');
            if (kind == 3)
                buffer_format(out, "%s\"k%u\"%s:", spaces[below(COUNT(spaces))], i,
                              spaces[below(COUNT(spaces))]);
            put_random(out, depth + 1);
        }
        buffer_char(out, kind == 2 ? ']' : '}');
    }
    buffer_string(out, spaces[below(COUNT(spaces))]);
}

/*
 * A recogniser of another kind: a stack of what is open and one word for what may come next. It
 * knows nothing of duplicate keys; the random texts have single ones unless a mutation makes two
 * alike.
 */
enum expect { VALUE, VALUE_OR_CLOSE, KEY, KEY_OR_CLOSE, COLON, COMMA };

/* Length of the token at text, 0 if there is none. */
static size_t token(const char *text, size_t length)
{
    static const char *const words[] = {"true", "false", "null"};
    size_t at = 0;
    for (size_t i = 0; i < 3; i++)
        if (length >= strlen(words[i]) && memcmp(text, words[i], strlen(words[i])) == 0)
            return strlen(words[i]);
    if (*text == '"') {
        for (at = 1; at < length && text[at] != '"'; at++) {
            if ((unsigned char)text[at] < 0x20)
                return 0;
            if (text[at] != '\\')
                continue;
            if (++at >= length || text[at] == '\0' || strchr("\"\\/bfnrtu", text[at]) == NULL)
                return 0;
            if (text[at] != 'u')
                continue;
            for (int i = 0; i < 4; i++)
                if (++at >= length || text[at] == '\0' ||
                    strchr("0123456789abcdefABCDEF", text[at]) == NULL)
                    return 0;
        }
        return at < length && text_is_utf8(text, at) ? at + 1 : 0;
    }
    char number[64] = "";
    while (at < length && at < 63 && text[at] != '\0' &&
           strchr("+-.0123456789eE", text[at]) != NULL)
        at++;
    memcpy(number, text, at);
    /* -?(0|[1-9][0-9]*)([.][0-9]+)?([eE][+-]?[0-9]+)? */
    char *p = number + (number[0] == '-');
    size_t digits = strspn(p, "0123456789");
    if (digits == 0 || (*p == '0' && digits > 1))
        return 0;
    p += digits;
    if (*p == '.' && (digits = strspn(++p, "0123456789")) == 0)
        return 0;
    p += *p >= '0' && *p <= '9' ? digits : 0;
    if (*p == 'e' || *p == 'E') {
        p += p[1] == '+' || p[1] == '-' ? 2 : 1;
        if ((digits = strspn(p, "0123456789")) == 0)
            return 0;
        p += digits;
    }
    return (size_t)(p - number);
}

static bool recognised(const char *text, size_t length)
{
    char open[JSON_DEPTH_MAX];
    size_t depth = 0;
    enum expect expect = VALUE;
    bool over = false;
    for (size_t at = 0; at < length;) {
        char c = text[at];
        if (c == ' ' || c == '\t' || c == '\n' || c == '\r') {
            at++;
            continue;
        }
        if (over)
            return false;
        bool value = expect == VALUE || expect == VALUE_OR_CLOSE;
        if (value && (c == '[' || c == '{')) {
            if (depth == JSON_DEPTH_MAX)
                return false;
            open[depth++] = c;
            expect = c == '[' ? VALUE_OR_CLOSE : KEY_OR_CLOSE;
            at++;
            continue;
        }
        bool closes = depth > 0 && c == (open[depth - 1] == '[' ? ']' : '}') &&
                      (expect == VALUE_OR_CLOSE || expect == KEY_OR_CLOSE || expect == COMMA);
        size_t size = 1;
        if (closes) {
            depth--;
            expect = COMMA;
        } else if (expect == COMMA && depth > 0 && c == ',') {
            expect = open[depth - 1] == '[' ? VALUE : KEY;
        } else if (expect == COLON && c == ':') {
            expect = VALUE;
        } else if (value || ((expect == KEY || expect == KEY_OR_CLOSE) && c == '"')) {
            size = token(text + at, length - at);
            expect = value ? COMMA : COLON;
            if (size == 0)
                return false;
        } else {
            return false;
        }
        over = expect == COMMA && depth == 0;
        at += size;
    }
    return over;
}

static void mutate(struct buffer *text)
{
    static const char bytes[] = "{}[],:\"\\ \n0123456789-+.eEutrfnals\x80\xc3\xa9\xff";
    for (unsigned i = below(3) + 1; i > 0 && text->length > 0; i--) {
        size_t at = below((unsigned)text->length);
        switch (below(4)) {
        case 0:
            text->data[at] = bytes[below(sizeof bytes)];
            break;
        case 1:
            memmove(text->data + at, text->data + at + 1, --text->length - at);
            break;
        case 2:
            buffer_char(text, ' ');
            memmove(text->data + at + 1, text->data + at, text->length - 1 - at);
            text->data[at] = bytes[below(sizeof bytes)];
            break;
        default:
            text->length = at;
        }
    }
}

/* Siblings follow each other, lie inside their parent, and each is a document of its own. */
static void check_tree(const struct json *json, const struct json_value *parent)
{
    uint32_t count = 0;
    const char *last = parent->raw.data;
    for (const struct json_value *child = json_first(json, parent); child != NULL;
         child = json_next(json, child)) {
        const struct json_value *value = parent->type == JSON_OBJECT ? json_member(child) : child;
        struct json alone;
        assert_true(child->raw.data > last);
        last = value->raw.data + value->raw.length - 1;
        assert_true(last < parent->raw.data + parent->raw.length - 1);
        assert_int_equal(json_parse(&alone, value->raw.data, value->raw.length, NULL), 0);
        assert_int_equal(alone.values->type, value->type);
        assert_int_equal(alone.values->count, value->count);
        json_free(&alone);
        check_tree(json, value);
        count++;
    }
    assert_int_equal(count, parent->count);
}

static void random_texts_are_judged_alike_by_another_recogniser(void **state)
{
    int taken = 0, refused = 0;
    (void)state;
    for (int round = 0; round < 100000; round++) {
        struct buffer text = {0};
        struct json json;
        struct rota_error error = {0};
        put_random(&text, 0);
        if (round % 4 != 0)
            mutate(&text);
        char *exact = malloc(text.length > 0 ? text.length : 1);
        memcpy(exact, text.data, text.length);
        bool expected = recognised(exact, text.length);
        bool ok = json_parse(&json, exact, text.length, &error) == 0;
        if (ok != expected && strstr(error.message, "stands twice") == NULL)
            fail_msg("%.*s: %s", (int)text.length, exact, ok ? "was taken" : error.message);
        if (ok) {
            check_tree(&json, json.values);
            json_free(&json);
        }
        taken += ok;
        refused += !ok;
        free(exact);
        buffer_free(&text);
    }
    assert_true(taken > 25000 && refused > 25000); /* the generator is worth something */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_texts_are_judged_alike_by_another_recogniser),
    };
    return cmocka_run_group_tests_name("json random", tests, NULL, NULL);
}
