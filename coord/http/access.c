/*
 * Who may: bearer tokens and their scopes, clients that guess, requests of other sites. While there
 * is no token at all, whoever is on this machine may do everything, and nobody else anything.
 *
 * What the database said of a token is remembered for CACHE_US, so that a revocation is heeded
 * within that time; while the database is away a token that was good goes on being so, as no news
 * of it can come.
 */
#include "coord/http/inside.h"

#include "base/clock.h"
#include "base/memory.h"
#include "base/table.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CACHE_US     (2 * US_PER_SECOND)
#define KNOWN_US     (600 * US_PER_SECOND) /* looked up again whatever its address has done */
#define KNOWN_MAX    1000                  /* tokens; then all are forgotten */
#define FAILURES_MAX 10                    /* of an address in WINDOW_US, then it has to wait */
#define WINDOW_US    (60 * US_PER_SECOND)
#define CLIENTS_MAX  4096 /* addresses that failed; then all are forgotten */

struct known {
    UT_hash_handle hh;
    unsigned char hash[TOKEN_HASH_SIZE];
    char who[80];
    enum web_scope scope;
    int64_t seen_us;
};

struct client {
    UT_hash_handle hh;
    char address[INET6_ADDRSTRLEN];
    int failures;
    int64_t since_us;
};

struct web_access {
    struct known *known;
    struct client *clients;
    bool any_token;
    int64_t any_seen_us; /* 0: not looked yet */
};

static const char *const scope_names[] = {"public", "monitor", "operate", "admin"};

const char *web_scope_name(enum web_scope scope)
{
    return scope_names[scope];
}

struct web_access *web_access_new(void)
{
    return mem_alloc(sizeof(struct web_access));
}

static void forget_known(struct web_access *access)
{
    struct known *known, *next;
    HASH_ITER (hh, access->known, known, next) {
        HASH_DEL(access->known, known);
        free(known);
    }
}

static void forget_clients(struct web_access *access)
{
    struct client *client, *next;
    HASH_ITER (hh, access->clients, client, next) {
        HASH_DEL(access->clients, client);
        free(client);
    }
}

void web_access_free(struct web_access *access)
{
    forget_known(access);
    forget_clients(access);
    free(access);
}

/* ---- clients that guess ---- */

/* Who has a network of IPv6 has all addresses of it. */
static void group_of(const char *address, char group[INET6_ADDRSTRLEN])
{
    struct in6_addr v6;
    snprintf(group, INET6_ADDRSTRLEN, "%s", address);
    if (inet_pton(AF_INET6, address, &v6) != 1 || IN6_IS_ADDR_V4MAPPED(&v6))
        return;
    memset(v6.s6_addr + 8, 0, 8);
    inet_ntop(AF_INET6, &v6, group, INET6_ADDRSTRLEN);
}

static struct client *client_of(struct web_access *access, const char *address)
{
    struct client *client;
    char group[INET6_ADDRSTRLEN];
    group_of(address, group);
    HASH_FIND_STR(access->clients, group, client);
    if (client != NULL && clock_monotonic_us() - client->since_us > WINDOW_US)
        client->failures = 0;
    return client;
}

static bool has_to_wait(struct web_access *access, const char *address)
{
    const struct client *client = client_of(access, address);
    return client != NULL && client->failures >= FAILURES_MAX;
}

static void failed(struct web_request *request, const char *why)
{
    struct web_access *access = request->server->access;
    struct client *client = client_of(access, request->address);
    if (client == NULL) {
        if (HASH_COUNT(access->clients) >= CLIENTS_MAX)
            forget_clients(access);
        client = mem_alloc(sizeof *client);
        group_of(request->address, client->address);
        HASH_ADD_STR(access->clients, address, client);
    }
    if (client->failures == 0)
        client->since_us = clock_monotonic_us();
    client->failures++;
    if (client->failures == 1 || client->failures == FAILURES_MAX)
        log_warn(&request->server->log, "http authentication failed",
                 LOG_TEXT("address", request->address), LOG_TEXT("path", request->route->path),
                 LOG_TEXT("why", why), LOG_INT("failures", client->failures));
}

/* ---- requests of other sites ---- */

static bool same_host(const char *origin, const char *host)
{
    const char *at = strstr(origin, "://");
    return at != NULL && host != NULL && strcasecmp(at + 3, host) == 0;
}

/* A browser says where a request comes from; programs say nothing, or what their users told them.
 */
bool web_access_cross_site(const struct web_request *request, const char **ret_why)
{
    const char *site = web_request_header(request, "Sec-Fetch-Site");
    const char *origin = web_request_header(request, "Origin");
    if (strcmp(request->method, "GET") == 0)
        return false;
    *ret_why = "Sec-Fetch-Site";
    if (site != NULL && strcmp(site, "same-origin") != 0 && strcmp(site, "none") != 0)
        return true;
    *ret_why = "Origin";
    return origin != NULL && !same_host(origin, web_request_header(request, "Host"));
}

/* Addresses only: a name that begins like one may be anybody's. */
static bool is_loopback(const char *address)
{
    struct in_addr v4;
    struct in6_addr v6;
    if (inet_pton(AF_INET, address, &v4) == 1)
        return ntohl(v4.s_addr) >> 24 == 127;
    if (inet_pton(AF_INET6, address, &v6) != 1)
        return false;
    return IN6_IS_ADDR_LOOPBACK(&v6) || (IN6_IS_ADDR_V4MAPPED(&v6) && v6.s6_addr[12] == 127);
}

/* A name that somebody else lets point here (DNS rebinding) is none of ours. */
static bool is_own_host(const struct web_request *request)
{
    const char *host = web_request_header(request, "Host");
    char name[256];
    if (host == NULL)
        return true;
    const char *from = *host == '[' ? host + 1 : host;
    size_t length = strcspn(from, *host == '[' ? "]" : ":");
    if (length >= sizeof name)
        return false;
    memcpy(name, from, length);
    name[length] = '\0';
    return strcasecmp(name, "localhost") == 0 || is_loopback(name) ||
           strcasecmp(name, request->server->host) == 0;
}

/* ---- tokens ---- */

static void refuse(struct web_request *request, int status)
{
    struct evkeyvalq *headers = evhttp_request_get_output_headers(request->evhttp);
    if (status == 401)
        evhttp_add_header(headers, "WWW-Authenticate", "Bearer realm=\"rota\"");
    if (status == 429)
        evhttp_add_header(headers, "Retry-After", "60");
    web_reply_status(request, status);
}

static void grant(struct web_request *request, const char *who, enum web_scope scope)
{
    snprintf(request->who, sizeof request->who, "%s", who);
    request->scope = scope;
    if (scope < request->route->scope)
        refuse(request, 403);
    else
        web_request_authorised(request);
}

/* A proxy on this machine speaks for others: they are not here. */
static bool is_forwarded(const struct web_request *request)
{
    static const char *const names[] = {"Forwarded", "X-Forwarded-For", "X-Forwarded-Host",
                                        "X-Real-IP", "Via"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (web_request_header(request, names[i]) != NULL)
            return true;
    return false;
}

/* Nobody has a token: this machine alone is served. */
static void grant_local(struct web_request *request)
{
    static const char text[] = "Without a token only this machine is served: rota token create";
    if (is_loopback(request->address) && is_own_host(request) && !is_forwarded(request))
        grant(request, "local", WEB_ADMIN);
    else
        web_reply(request, 403, "text/plain; charset=utf-8", text, strlen(text));
}

static void decide_without(struct web_request *request)
{
    if (request->server->access->any_token)
        refuse(request, 401);
    else
        grant_local(request);
}

static void remember(struct web_access *access, const struct web_token *asked, const char *who,
                     enum web_scope scope)
{
    struct known *known;
    HASH_FIND(hh, access->known, asked->hash, TOKEN_HASH_SIZE, known);
    if (known == NULL) {
        if (HASH_COUNT(access->known) >= KNOWN_MAX)
            forget_known(access);
        known = mem_alloc(sizeof *known);
        memcpy(known->hash, asked->hash, TOKEN_HASH_SIZE);
        HASH_ADD(hh, access->known, hash, TOKEN_HASH_SIZE, known);
    }
    snprintf(known->who, sizeof known->who, "%s", who);
    known->scope = scope;
    known->seen_us = clock_monotonic_us();
}

static void drop(struct web_access *access, const struct web_token *asked)
{
    struct known *known;
    HASH_FIND(hh, access->known, asked->hash, TOKEN_HASH_SIZE, known);
    if (known == NULL)
        return;
    HASH_DEL(access->known, known);
    free(known);
}

static enum web_scope scope_of(const char *name)
{
    enum web_scope scope = WEB_ADMIN;
    while (scope > WEB_PUBLIC && strcmp(scope_names[scope], name) != 0)
        scope--;
    return scope;
}

static void note_use(struct http_server *server, int32_t token)
{
    struct store_params params = {0};
    params_int32(&params, token);
    store_call(server->store, SQL_TOKEN_USED, &params, 0, NULL, NULL);
    store_params_free(&params);
}

static void note_any(struct web_access *access, const PGresult *result)
{
    access->any_token = row_bool(result, 0, 0);
    access->any_seen_us = clock_monotonic_us();
}

/* NULL: it is good. */
static const char *fault_of(const struct web_token *token, const PGresult *result)
{
    struct slice hash = row_slice(result, 0, 3);
    if (hash.data == NULL || !token_same(hash, token->hash))
        return "unknown token";
    return row_bool(result, 0, 5) ? NULL : "token expired or revoked";
}

static void on_found(struct web_request *request, const PGresult *result)
{
    struct web_access *access = request->server->access;
    note_any(access, result);
    if (!request->token.given) {
        decide_without(request);
        return;
    }
    const char *why = fault_of(&request->token, result);
    if (why != NULL) {
        drop(access, &request->token);
        failed(request, why);
        refuse(request, 401);
        return;
    }
    const char *who = row_text(result, 0, 2);
    enum web_scope scope = scope_of(row_text(result, 0, 4));
    remember(access, &request->token, who, scope);
    if (row_bool(result, 0, 6))
        note_use(request->server, row_int32(result, 0, 1));
    grant(request, who, scope);
}

static void ask(struct web_request *request)
{
    struct store_params params = {0};
    params_text(&params, request->token.key);
    web_ask(request, SQL_TOKEN_FIND, &params, on_found);
    store_params_free(&params);
}

/* The token of an Authorization header; NULL: there is none. */
static const char *bearer(const struct web_request *request)
{
    const char *header = web_request_header(request, "Authorization");
    if (header == NULL)
        return NULL;
    if (strncasecmp(header, "Bearer ", 7) != 0)
        return "";
    return header + 7 + strspn(header + 7, " ");
}

static bool fresh(const struct web_request *request, int64_t seen_us)
{
    int64_t age_us = clock_monotonic_us() - seen_us;
    return seen_us != 0 && age_us < (store_ready(request->server->store) ? CACHE_US : KNOWN_US);
}

void web_access_check(struct web_request *request)
{
    struct web_access *access = request->server->access;
    struct web_token *token = &request->token;
    const char *text = bearer(request);
    struct known *known = NULL;
    token->given = text != NULL;
    if (text == NULL) {
        if (fresh(request, access->any_seen_us))
            decide_without(request);
        else
            ask(request);
        return;
    }
    bool shaped = token_split(text, token->key) == 0;
    if (shaped) {
        token_hash(text, token->hash);
        HASH_FIND(hh, access->known, token->hash, TOKEN_HASH_SIZE, known);
    }
    if (known != NULL && fresh(request, known->seen_us)) {
        grant(request, known->who, known->scope);
    } else if ((known == NULL || clock_monotonic_us() - known->seen_us > KNOWN_US) &&
               has_to_wait(access, request->address)) {
        refuse(request, 429);
    } else if (!shaped) {
        failed(request, "no token of rota");
        refuse(request, 401);
    } else {
        ask(request);
    }
}

/* ---- who is being answered for long ---- */

static bool may_still(struct web_request *request, const PGresult *result)
{
    struct web_access *access = request->server->access;
    note_any(access, result);
    if (!request->token.given)
        return !access->any_token;
    if (fault_of(&request->token, result) == NULL)
        return scope_of(row_text(result, 0, 4)) >= request->route->scope;
    drop(access, &request->token);
    return false;
}

static void on_again(void *arg, const struct store_answer *answer)
{
    struct web_request *request = arg;
    if (web_request_back(request)) /* while the database is away no news can come of it */
        request->again(request, answer->error != NULL || may_still(request, answer->result));
}

void web_access_again(struct web_request *request,
                      void (*answer)(struct web_request *request, bool may))
{
    struct store_params params = {0};
    if (request->out || !store_ready(request->server->store))
        return;
    request->again = answer;
    web_request_out(request);
    params_text(&params, request->token.key);
    store_call(request->server->store, SQL_TOKEN_FIND, &params, 0, on_again, request);
    store_params_free(&params);
}
