/*
 * How a client command finds its database, and how a connection string is shown without its
 * passwords. The forms of connection strings: PostgreSQL's manual, "Connection Strings".
 */
#include "cmd/settings.h"

#include "base/buffer.h"
#include "base/memory.h"
#include "cmd/data_directory.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

bool settings_wants_data(const struct settings *settings)
{
    bool data_flag = strncmp(settings_origin(settings, SETTING_DATA), "--", 2) == 0;
    bool url_flag = strncmp(settings_origin(settings, SETTING_DATABASE_URL), "--", 2) == 0;
    return settings_text(settings, SETTING_DATABASE_URL) == NULL || (data_flag && !url_flag);
}

char *settings_client_url(const struct settings *settings, struct rota_error *error)
{
    const char *data = settings_text(settings, SETTING_DATA);
    if (!settings_wants_data(settings))
        return mem_string(settings_text(settings, SETTING_DATABASE_URL));
    if (data_directory_running(data) > 0)
        return data_directory_read(data, DATA_URL, error);
    error_set(error, ERROR_DATABASE,
              "no database: no `rota up` runs on %s; start one, name its directory with --data "
              "or ROTA_DATA, or name a database with --database-url or ROTA_DATABASE_URL",
              data);
    return NULL;
}

static bool is_secret_word(const char *name, size_t length)
{
    static const char *const secrets[] = {"password", "sslpassword", "passwd"};
    for (size_t i = 0; i < sizeof secrets / sizeof *secrets; i++)
        if (strlen(secrets[i]) == length && strncasecmp(secrets[i], name, length) == 0)
            return true;
    return false;
}

/* postgresql://user:PASSWORD@host/db?password=PASSWORD */
static void mask_uri(struct buffer *out, const char *at)
{
    size_t authority = strcspn(at, "/?");
    const char *host = memrchr(at, '@', authority);
    if (host == NULL) /* a password with a slash that nobody has escaped is one all the same */
        host = memrchr(at, '@', strcspn(at, "?"));
    const char *colon = host != NULL ? memchr(at, ':', (size_t)(host - at)) : NULL;
    if (colon != NULL) {
        buffer_append(out, at, (size_t)(colon + 1 - at));
        buffer_string(out, "***");
        at = host;
    }
    while (*at != '\0') {
        size_t length = strcspn(at, "?&");
        const char *equals = memchr(at, '=', length);
        if (equals != NULL && is_secret_word(at, (size_t)(equals - at))) {
            buffer_append(out, at, (size_t)(equals + 1 - at));
            buffer_string(out, "***");
        } else {
            buffer_append(out, at, length);
        }
        at += length;
        if (*at != '\0')
            buffer_char(out, *at++);
    }
}

/* The end of a value: 'quoted with \' inside' or up to the next space. */
static const char *value_end(const char *at)
{
    bool quoted = *at == '\'';
    for (at += quoted; *at != '\0'; at++) {
        if (*at == '\\' && at[1] != '\0')
            at++;
        else if (quoted ? *at == '\'' : isspace((unsigned char)*at))
            return at + quoted;
    }
    return at;
}

/* host=h user=u password='PASSWORD' */
static void mask_words(struct buffer *out, const char *at)
{
    while (*at != '\0') {
        const char *name = at + strspn(at, " \t\n\r");
        size_t length = strcspn(name, "= \t\n\r");
        const char *equals = name + length + strspn(name + length, " \t\n\r");
        const char *value = *equals == '=' ? equals + 1 + strspn(equals + 1, " \t\n\r") : equals;
        const char *end = *equals == '=' ? value_end(value) : value;
        if (*equals == '=' && is_secret_word(name, length)) {
            buffer_append(out, at, (size_t)(value - at));
            buffer_string(out, "***");
        } else {
            buffer_append(out, at, (size_t)(end - at));
        }
        if (end == at)
            return;
        at = end;
    }
}

char *settings_mask(const char *database_url)
{
    struct buffer out = {0};
    const char *scheme = strstr(database_url, "://");
    if (scheme != NULL && strncmp(database_url, "postgres", 8) == 0) {
        buffer_append(&out, database_url, (size_t)(scheme + 3 - database_url));
        mask_uri(&out, scheme + 3);
    } else {
        mask_words(&out, database_url);
    }
    buffer_text(&out);
    return out.data;
}
