/* Which targets of the handler `http` are allowed: see http_target.h. */
#include "worker/builtin/http_target.h"

#include "base/memory.h"
#include "base/text.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <curl/curl.h>
#include <fnmatch.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

/* --- addresses: all as IPv6, IPv4 ones mapped --- */

struct range {
    unsigned char address[16];
    int bits;
};

static void map_ipv4(unsigned char address[16], const void *four)
{
    memset(address, 0, 10);
    memset(address + 10, 0xff, 2);
    memcpy(address + 12, four, 4);
}

/* `10.0.0.0/8`, `::1`. 0 or -1. */
static int range_read(const char *text, struct range *ret_range)
{
    struct range range;
    unsigned char four[4];
    char *host = mem_string_n(text, strcspn(text, "/"));
    const char *slash = strchr(text, '/');
    int64_t bits = -1, most = 128, before = 0;
    int failed = -1;
    if (inet_pton(AF_INET, host, four) == 1) {
        map_ipv4(range.address, four);
        most = 32;
        before = 96;
    } else if (inet_pton(AF_INET6, host, range.address) != 1) {
        goto out;
    }
    if (slash == NULL)
        bits = most;
    else if (text_int64(slash + 1, strlen(slash + 1), &bits) != 0)
        goto out;
    if (bits < 0 || bits > most)
        goto out;
    range.bits = (int)(bits + before);
    *ret_range = range;
    failed = 0;
out:
    free(host);
    return failed;
}

static bool range_holds(const struct range *range, const unsigned char address[16])
{
    int bytes = range->bits / 8, rest = range->bits % 8;
    if (memcmp(range->address, address, (size_t)bytes) != 0)
        return false;
    unsigned char mask = (unsigned char)(0xff << (8 - rest));
    return rest == 0 || ((range->address[bytes] ^ address[bytes]) & mask) == 0;
}

static bool is_in_any(const char *const *ranges, size_t count, const unsigned char address[16])
{
    struct range range;
    for (size_t i = 0; i < count; i++)
        if (range_read(ranges[i], &range) == 0 && range_holds(&range, address))
            return true;
    return false;
}

static bool address_bytes(const struct sockaddr *address, unsigned char bytes[16])
{
    if (address->sa_family == AF_INET)
        map_ipv4(bytes, &((const struct sockaddr_in *)address)->sin_addr);
    else if (address->sa_family == AF_INET6)
        memcpy(bytes, &((const struct sockaddr_in6 *)address)->sin6_addr, 16);
    else
        return false;
    return true;
}

/* IANA's registries of special-purpose addresses, multicast, and 168.63.129.16: Azure's own. */
static const char *const special[] = {
    "0.0.0.0/8",      "10.0.0.0/8",    "100.64.0.0/10",   "127.0.0.0/8",    "168.63.129.16",
    "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",    "192.0.2.0/24",   "192.88.99.0/24",
    "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4",
    "240.0.0.0/4",    "2001::/23",     "2001:db8::/32",   "2002::/16",      "3fff::/20",
};
/* Of IPv6 only what is given out as global unicast is public. */
static const char *const global[] = {"::ffff:0:0/96", "2000::/3"};

bool http_address_public(const struct sockaddr *address)
{
    unsigned char bytes[16];
    return address_bytes(address, bytes) &&
           is_in_any(global, sizeof global / sizeof *global, bytes) &&
           !is_in_any(special, sizeof special / sizeof *special, bytes);
}

const char *http_address_text(const struct sockaddr *address, char *text)
{
    const void *bytes = address->sa_family == AF_INET
                            ? (const void *)&((const struct sockaddr_in *)address)->sin_addr
                            : (const void *)&((const struct sockaddr_in6 *)address)->sin6_addr;
    return inet_ntop(address->sa_family, bytes, text, INET6_ADDRSTRLEN) != NULL ? text : "?";
}

/* --- http_allow --- */

static bool is_literal(const char *host)
{
    unsigned char bytes[16];
    return inet_pton(AF_INET, host, bytes) == 1 || inet_pton(AF_INET6, host, bytes) == 1;
}

bool http_target_allowed(const struct sockaddr *address, const char *host, char *const *allow)
{
    unsigned char bytes[16];
    struct range range;
    if (!address_bytes(address, bytes))
        return false;
    if (http_address_public(address))
        return true;
    for (; allow != NULL && *allow != NULL; allow++) {
        if (strcmp(*allow, "*") == 0)
            return true;
        if (range_read(*allow, &range) == 0 ? range_holds(&range, bytes)
                                            : !is_literal(host) && fnmatch(*allow, host, 0) == 0)
            return true;
    }
    return false;
}

int http_allow_check(const char *entry, struct rota_error *error)
{
    struct range range;
    bool numbers = strspn(entry, "0123456789.") == strlen(entry) || strpbrk(entry, ":/") != NULL;
    if (range_read(entry, &range) == 0)
        return 0;
    if (!numbers && strspn(entry, "abcdefghijklmnopqrstuvwxyz0123456789.-_*") == strlen(entry))
        return 0;
    return error_set(error, ERROR_REFUSED,
                     "\"%.100s\" is refused: write addresses like 10.1.0.0/16, 10.1.2.3 or "
                     "fd00::/8, or hosts in lower case like api.internal or *.internal",
                     entry);
}

/* --- URLs --- */

void http_target_free(struct http_target *target)
{
    free(target->host);
    *target = (struct http_target){0};
}

bool http_target_same(const struct http_target *a, const struct http_target *b)
{
    return a->port == b->port && a->secure == b->secure && strcmp(a->host, b->host) == 0;
}

static char *url_part(CURLU *url, CURLUPart part, unsigned flags)
{
    char *text = NULL, *copy = NULL;
    if (curl_url_get(url, part, &text, flags) == CURLUE_OK)
        copy = mem_string(text);
    curl_free(text);
    return copy;
}

static int has_part(CURLU *url, CURLUPart part)
{
    char *text = url_part(url, part, 0);
    free(text);
    return text != NULL;
}

static int check_host(char *host, struct rota_error *error)
{
    size_t length = strlen(host);
    if (host[0] == '[' && host[length - 1] == ']') {
        memmove(host, host + 1, length - 2);
        host[length - 2] = '\0';
    }
    for (char *at = host; *at != '\0'; at++) {
        if (!isgraph((unsigned char)*at) || (unsigned char)*at >= 0x80 || strchr("%,", *at) != NULL)
            return error_set(error, ERROR_REFUSED,
                             "its host must be written in ASCII (xn--… for other names), without "
                             "a zone");
        *at = (char)tolower((unsigned char)*at);
    }
    return 0;
}

static int read_parts(CURLU *url, struct http_target *target, struct rota_error *error)
{
    char *scheme = url_part(url, CURLUPART_SCHEME, 0);
    char *port = url_part(url, CURLUPART_PORT, CURLU_DEFAULT_PORT);
    int64_t number = 0;
    int failed = 0;
    target->host = url_part(url, CURLUPART_HOST, 0);
    target->secure = scheme != NULL && strcmp(scheme, "https") == 0;
    if (scheme == NULL || (!target->secure && strcmp(scheme, "http") != 0))
        failed = error_set(error, ERROR_REFUSED, "it must begin with https:// or http://");
    else if (has_part(url, CURLUPART_USER) || has_part(url, CURLUPART_PASSWORD))
        failed = error_set(error, ERROR_REFUSED,
                           "it must not hold a user or password: put them into a header by a "
                           "secret, like \"Authorization\":{\"env\":\"TOKEN\",\"prefix\":\"Bearer "
                           "\"}");
    else if (target->host == NULL || *target->host == '\0' || has_part(url, CURLUPART_ZONEID) ||
             port == NULL || text_int64(port, strlen(port), &number) != 0 || number < 1)
        failed = error_set(error, ERROR_REFUSED, "it needs a host and a port, without a zone");
    else
        failed = check_host(target->host, error);
    target->port = (int)number;
    free(scheme);
    free(port);
    return failed;
}

int http_target_read(struct http_target *ret_target, const char *text, struct rota_error *error)
{
    struct http_target target = {0};
    CURLU *url = curl_url();
    int failed = -1;
    if (url == NULL ||
        curl_url_set(url, CURLUPART_URL, text, CURLU_NON_SUPPORT_SCHEME) != CURLUE_OK)
        error_set(error, ERROR_REFUSED, "it is no URL: write one like https://example.org/path");
    else
        failed = read_parts(url, &target, error);
    curl_url_cleanup(url);
    if (failed != 0) {
        http_target_free(&target);
        return -1;
    }
    *ret_target = target;
    return 0;
}
