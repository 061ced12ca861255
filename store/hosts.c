/*
 * The hosts of a connection string. libpq resolves names blocking, so names are resolved here
 * through libevent's resolver and handed to libpq as hostaddr beside the name (which TLS
 * verification needs). A name with several addresses becomes several entries.
 */
#include "store/connection.h"

#include "base/clock.h"
#include "base/memory.h"

#include <arpa/inet.h>
#include <event2/dns.h>
#include <event2/util.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define HOSTS_MAX     16 /* of a connection string */
#define ADDRESSES_MAX 32 /* of all of them */
#define PATIENCE_US                                                                                \
    (1 * US_PER_SECOND) /* for a name, while other hosts have addresses: its resolver may be gone  \
                         */

struct host {
    char *name; /* "" takes libpq's default socket directory */
    char *port;
    char *address; /* given or resolved; "" for sockets */
    bool to_resolve;
};

struct hosts {
    const struct store_config *config;
    char *invalid; /* why the connection string cannot be used */
    PQconninfoOption *options;
    struct host host[HOSTS_MAX];
    int count;
    int first; /* where the next attempt begins */
    struct evdns_base *dns;
    struct list questions; /* struct question: what the resolver has not answered */
    int asked;             /* of this round */
    int round;             /* of questions: late answers belong to an earlier one */
    struct event *patience;
    struct event *reporting;
    char error[256];
    struct {
        int host;
        char text[INET6_ADDRSTRLEN];
    } found[ADDRESSES_MAX];
    int found_count;
    void (*done)(void *arg, const struct rota_error *error);
    void *arg;
};

static const char *option(const struct hosts *hosts, const char *keyword, const char *environment)
{
    for (const PQconninfoOption *o = hosts->options; o != NULL && o->keyword != NULL; o++)
        if (strcmp(o->keyword, keyword) == 0 && o->val != NULL)
            return o->val;
    const char *from = environment != NULL ? getenv(environment) : NULL;
    return from != NULL ? from : "";
}

/* The n-th entry of a comma-separated list, the last one for a list that is too short; to be freed.
 */
static char *nth(const char *list, int n, bool repeat_single)
{
    const char *at = list;
    if (repeat_single && strchr(list, ',') == NULL)
        return mem_string(list);
    for (; n > 0; n--) {
        at = strchr(at, ',');
        if (at == NULL)
            return mem_string("");
        at++;
    }
    return mem_string_n(at, strcspn(at, ","));
}

static bool is_name(const char *host)
{
    unsigned char address[sizeof(struct in6_addr)];
    return *host != '\0' && *host != '/' && *host != '@' &&
           inet_pton(AF_INET, host, address) != 1 && inet_pton(AF_INET6, host, address) != 1 &&
           strchr(host, '%') == NULL;
}

static int list_length(const char *list)
{
    int length = 1;
    for (; *list != '\0'; list++)
        length += *list == ',';
    return length;
}

static void split(struct hosts *hosts)
{
    const char *names = option(hosts, "host", "PGHOST"),
               *addresses = option(hosts, "hostaddr", "PGHOSTADDR");
    const char *ports = option(hosts, "port", "PGPORT");
    int count = list_length(*addresses != '\0' ? addresses : names);
    hosts->count = count < HOSTS_MAX ? count : HOSTS_MAX;
    for (int i = 0; i < hosts->count; i++) {
        struct host *host = &hosts->host[i];
        host->name = nth(names, i, false);
        host->address = nth(addresses, i, false);
        host->port = nth(ports, i, true);
        host->to_resolve = *host->address == '\0' && is_name(host->name);
    }
}

/*
 * What libpq says of a connection string, up to where it quotes more of it than a character or the
 * name of an option: that may be a password.
 */
static char *without_quotes(const char *message)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz_";
    size_t length = strcspn(message, "\n"), at = strcspn(message, "\"\n");
    while (at < length) {
        size_t name = strspn(message + at + 1, letters);
        bool harmless = message[at + 1] != '\0' && message[at + 2] == '"';
        if (strncmp(message, "invalid connection option", 25) == 0 && name < 32)
            harmless = harmless || message[at + 1 + name] == '"';
        if (!harmless)
            return mem_format("%.*s…", (int)at, message);
        at += 1 + strcspn(message + at + 1, "\"\n") + 1;
        at += at < length ? strcspn(message + at, "\"\n") : 0;
    }
    return mem_string_n(message, length);
}

struct question {
    struct list link;
    struct hosts *hosts; /* NULL: they are gone, and the resolver with them */
    int host;
    int round;
};

static void on_resolved(evutil_socket_t fd, short what, void *arg);

struct hosts *hosts_new(const struct store_config *config, struct rota_error *error)
{
    struct hosts *hosts = mem_alloc(sizeof *hosts);
    char *message = NULL;
    hosts->config = config;
    list_init(&hosts->questions);
    hosts->reporting = evtimer_new(config->base, on_resolved, hosts);
    hosts->options = PQconninfoParse(config->url, &message);
    if (hosts->options == NULL) {
        char *why = without_quotes(message != NULL ? message : "out of memory");
        hosts->invalid = mem_format("the database URL cannot be read: %s; write "
                                    "postgresql://USER:PASSWORD@HOST/DATABASE, with %%XX for what "
                                    "is no letter or digit, or host=HOST dbname=DATABASE",
                                    why);
        free(why);
        PQfreemem(message);
        error_set(error, ERROR_USAGE, "%s", hosts->invalid);
        return hosts;
    }
    split(hosts);
    return hosts;
}

void hosts_free(struct hosts *hosts)
{
    if (hosts == NULL)
        return;
    for (int i = 0; i < hosts->count; i++) {
        free(hosts->host[i].name);
        free(hosts->host[i].port);
        free(hosts->host[i].address);
    }
    if (hosts->patience != NULL)
        event_free(hosts->patience);
    event_free(hosts->reporting);
    LIST_EACH (&hosts->questions, struct question, link, question) {
        list_remove(&question->link);
        question->hosts = NULL;
    }
    /* with an answer to each question: the resolver's own timers would go on without it */
    if (hosts->dns != NULL)
        evdns_base_free(hosts->dns, 1);
    PQconninfoFree(hosts->options);
    free(hosts->invalid);
    free(hosts);
}

int hosts_count(const struct hosts *hosts)
{
    return hosts->count;
}

static bool is_at(const struct host *host, const char *name, const char *port)
{
    bool same_port = *host->port == '\0' || strcmp(host->port, port) == 0;
    return same_port && (strcmp(host->name, name) == 0 || strcmp(host->address, name) == 0);
}

void hosts_rotate(struct hosts *hosts, const PGconn *pg)
{
    const char *name = PQhost(pg), *port = PQport(pg);
    int at = hosts->first;
    for (int n = 0; n < hosts->count; n++) {
        int i = (hosts->first + n) % hosts->count;
        if (name != NULL && port != NULL && is_at(&hosts->host[i], name, port)) {
            at = i;
            break;
        }
    }
    if (hosts->count > 0)
        hosts->first = (at + 1) % hosts->count;
}

/* Whether any host has an address. */
static bool is_usable(const struct hosts *hosts)
{
    bool usable = hosts->found_count > 0;
    for (int i = 0; i < hosts->count; i++)
        usable = usable || !hosts->host[i].to_resolve;
    return usable;
}

/* Reports from the loop, never from inside hosts_resolve(). */
static void on_resolved(evutil_socket_t fd, short what, void *arg)
{
    struct hosts *hosts = arg;
    (void)fd;
    (void)what;
    struct rota_error error = {0};
    bool usable = is_usable(hosts);
    if (hosts->invalid != NULL)
        error_set(&error, ERROR_USAGE, "%s", hosts->invalid);
    else if (!usable)
        error_set(&error, ERROR_DATABASE, "cannot resolve the database's host: %s", hosts->error);
    hosts->done(hosts->arg, error.code != ERROR_NONE ? &error : NULL);
}

static void report(struct hosts *hosts)
{
    hosts->round++; /* what is still out comes too late */
    if (hosts->patience != NULL)
        evtimer_del(hosts->patience);
    event_active(hosts->reporting, EV_TIMEOUT, 0);
}

static void on_patience(evutil_socket_t fd, short what, void *arg)
{
    struct hosts *hosts = arg;
    (void)fd;
    (void)what;
    if (is_usable(hosts))
        report(hosts);
}

static void add_addresses(struct hosts *hosts, int host, const struct evutil_addrinfo *list)
{
    for (const struct evutil_addrinfo *at = list; at != NULL && hosts->found_count < ADDRESSES_MAX;
         at = at->ai_next) {
        int place = hosts->found_count;
        if (getnameinfo(at->ai_addr, at->ai_addrlen, hosts->found[place].text, INET6_ADDRSTRLEN,
                        NULL, 0, NI_NUMERICHOST) != 0)
            continue;
        hosts->found[place].host = host;
        hosts->found_count++;
    }
}

static void on_addresses(int failed, struct evutil_addrinfo *list, void *arg)
{
    struct question *question = arg;
    struct hosts *hosts = question->hosts;
    if (hosts == NULL) {
        if (list != NULL)
            evutil_freeaddrinfo(list);
        free(question);
        return;
    }
    list_remove(&question->link);
    bool late = question->round != hosts->round;
    if (failed != 0)
        snprintf(hosts->error, sizeof hosts->error, "%s: %s", hosts->host[question->host].name,
                 evutil_gai_strerror(failed));
    if (!late)
        add_addresses(hosts, question->host, list);
    if (list != NULL)
        evutil_freeaddrinfo(list);
    free(question);
    if (!late && --hosts->asked == 0)
        report(hosts);
}

static struct evdns_base *resolver(struct event_base *base)
{
    struct evdns_base *dns = evdns_base_new(base, EVDNS_BASE_DISABLE_WHEN_INACTIVE);
    if (dns == NULL)
        return NULL;
    evdns_base_resolv_conf_parse(dns, DNS_OPTIONS_ALL, "/etc/resolv.conf");
    evdns_base_set_option(dns, "timeout:", "2");
    evdns_base_set_option(dns, "attempts:", "2");
    return dns;
}

void hosts_resolve(struct hosts *hosts, void (*done)(void *arg, const struct rota_error *error),
                   void *arg)
{
    hosts->done = done;
    hosts->arg = arg;
    hosts->found_count = 0;
    hosts->round++;
    hosts->asked = 1; /* so that answers from inside the loop below do not report early */
    for (int i = 0; i < hosts->count; i++) {
        if (!hosts->host[i].to_resolve)
            continue;
        if (hosts->dns == NULL)
            hosts->dns = resolver(hosts->config->base);
        struct question *question = mem_alloc(sizeof *question);
        *question = (struct question){.hosts = hosts, .host = i, .round = hosts->round};
        list_init(&question->link);
        list_append(&hosts->questions, &question->link);
        struct evutil_addrinfo hints = {
            .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = EVUTIL_AI_ADDRCONFIG};
        hosts->asked++;
        evdns_getaddrinfo(hosts->dns, hosts->host[i].name, NULL, &hints, on_addresses, question);
    }
    if (--hosts->asked == 0) {
        report(hosts);
        return;
    }
    struct timeval patience = clock_timeval(PATIENCE_US);
    if (hosts->patience == NULL)
        hosts->patience = event_new(hosts->config->base, -1, EV_PERSIST, on_patience, hosts);
    event_add(hosts->patience, &patience);
}

struct entries {
    struct buffer names, addresses, ports;
    int count;
};

static void add_entry(struct entries *entries, const char *name, const char *address,
                      const char *port)
{
    const char *comma = entries->count++ > 0 ? "," : "";
    buffer_format(&entries->names, "%s%s", comma, name);
    buffer_format(&entries->addresses, "%s%s", comma, address);
    buffer_format(&entries->ports, "%s%s", comma, port);
}

static void list_entries(const struct hosts *hosts, struct entries *entries)
{
    for (int n = 0; n < hosts->count; n++) {
        int i = (hosts->first + n) % hosts->count;
        const struct host *host = &hosts->host[i];
        if (!host->to_resolve)
            add_entry(entries, host->name, host->address, host->port);
        for (int f = 0; f < hosts->found_count; f++)
            if (hosts->found[f].host == i)
                add_entry(entries, host->name, hosts->found[f].text, host->port);
    }
}

struct keywords {
    const char *keys[64];
    const char *values[64];
    int count;
};

static void set_keyword(struct keywords *keywords, const char *key, const char *value)
{
    if (value == NULL || *value == '\0' || keywords->count >= 63)
        return;
    for (int i = 0; i < keywords->count; i++) {
        if (strcmp(keywords->keys[i], key) == 0) {
            keywords->values[i] = value;
            return;
        }
    }
    keywords->keys[keywords->count] = key;
    keywords->values[keywords->count++] = value;
}

static bool has_keyword(const struct keywords *keywords, const char *key)
{
    for (int i = 0; i < keywords->count; i++)
        if (strcmp(keywords->keys[i], key) == 0)
            return true;
    return false;
}

static void set_default(struct keywords *keywords, const char *key, const char *value)
{
    if (!has_keyword(keywords, key))
        set_keyword(keywords, key, value);
}

const char *hosts_options(const struct hosts *hosts)
{
    return option(hosts, "options", "PGOPTIONS");
}

PGconn *hosts_connect(struct hosts *hosts, const char *options, const char *application_name)
{
    struct entries entries = {0};
    struct keywords keywords = {0};
    list_entries(hosts, &entries);
    for (const PQconninfoOption *o = hosts->options; o->keyword != NULL; o++)
        if (strcmp(o->keyword, "options") != 0)
            set_keyword(&keywords, o->keyword, o->val);
    set_keyword(&keywords, "host", buffer_text(&entries.names));
    set_keyword(&keywords, "hostaddr", buffer_text(&entries.addresses));
    set_keyword(&keywords, "port", buffer_text(&entries.ports));
    /* a server that has gone away without a word is noticed in seconds, not hours */
    set_default(&keywords, "keepalives_idle", "3");
    set_default(&keywords, "keepalives_interval", "1");
    set_default(&keywords, "keepalives_count", "3");
    set_default(&keywords, "tcp_user_timeout", "5000");
    /* a standby is of no use, whatever else is allowed; "primary" says the same */
    if (hosts->config->writes &&
        strcmp(option(hosts, "target_session_attrs", "PGTARGETSESSIONATTRS"), "primary") != 0)
        set_keyword(&keywords, "target_session_attrs", "read-write");
    set_keyword(&keywords, "application_name", application_name);
    set_keyword(&keywords, "client_encoding", "UTF8");
    set_keyword(&keywords, "options", options);
    PGconn *pg = PQconnectStartParams(keywords.keys, keywords.values, 0);
    buffer_free(&entries.names);
    buffer_free(&entries.addresses);
    buffer_free(&entries.ports);
    return pg;
}
