/* Names to addresses through libevent's resolver: see resolve.h. */
#include "worker/builtin/resolve.h"

#include "worker/builtin/builtin.h"

#include "base/memory.h"

#include <arpa/inet.h>
#include <event2/dns.h>
#include <event2/util.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct resolver {
    struct evdns_base *dns;
    struct timespec configured, hosts; /* when the files it was made from were written */
    size_t open;                       /* questions that it has not answered */
};

struct resolve {
    struct builtin *builtin;
    struct event *later; /* answers that are there at once */
    void (*done)(void *arg, const struct resolve_answer *answer); /* NULL: cancelled */
    void *arg;
    struct resolve_answer answer;
    bool asked; /* the resolver has it */
};

static struct timespec written(const char *path)
{
    struct stat status;
    return stat(path, &status) == 0 ? status.st_mtim : (struct timespec){0, 0};
}

static bool is_same(struct timespec a, struct timespec b)
{
    return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

/* Made anew when the machine's files have changed and nobody waits for an answer. */
static struct evdns_base *resolver_dns(struct builtin *builtin)
{
    if (builtin->resolver == NULL)
        builtin->resolver = mem_alloc(sizeof *builtin->resolver);
    struct resolver *resolver = builtin->resolver;
    struct timespec configured = written("/etc/resolv.conf"), hosts = written("/etc/hosts");
    bool same = is_same(configured, resolver->configured) && is_same(hosts, resolver->hosts);
    if (resolver->dns != NULL && (same || resolver->open > 0))
        return resolver->dns;
    if (resolver->dns != NULL)
        evdns_base_free(resolver->dns, 0);
    resolver->dns = evdns_base_new(builtin->base, EVDNS_BASE_DISABLE_WHEN_INACTIVE);
    if (resolver->dns == NULL)
        return NULL;
    resolver->configured = configured;
    resolver->hosts = hosts;
    evdns_base_resolv_conf_parse(resolver->dns, DNS_OPTIONS_ALL, "/etc/resolv.conf");
    evdns_base_set_option(resolver->dns, "timeout:", "2");
    evdns_base_set_option(resolver->dns, "attempts:", "2");
    return resolver->dns;
}

void resolver_free(struct resolver *resolver)
{
    if (resolver == NULL)
        return;
    if (resolver->dns != NULL)
        evdns_base_free(resolver->dns, 0);
    free(resolver);
}

static void resolve_free(struct resolve *resolve)
{
    event_free(resolve->later);
    free(resolve);
}

static void on_later(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct resolve *resolve = arg;
    resolve->done(resolve->arg, &resolve->answer);
    resolve_free(resolve);
}

static void on_addresses(int failed, struct evutil_addrinfo *list, void *arg)
{
    struct resolve *resolve = arg;
    struct resolve_answer *answer = &resolve->answer;
    resolve->builtin->resolver->open--;
    resolve->asked = false;
    for (struct evutil_addrinfo *at = list; at != NULL && answer->count < RESOLVE_ADDRESSES_MAX;
         at = at->ai_next)
        if (at->ai_addrlen <= sizeof *answer->addresses)
            memcpy(&answer->addresses[answer->count++], at->ai_addr, at->ai_addrlen);
    if (list != NULL)
        evutil_freeaddrinfo(list);
    if (resolve->done == NULL) {
        resolve_free(resolve);
        return;
    }
    if (answer->count == 0)
        answer->error = failed != 0 ? evutil_gai_strerror(failed) : "it has no address";
    event_active(resolve->later, EV_TIMEOUT, 0); /* it may have been known at once */
}

int resolve_literal(const char *host, struct sockaddr_storage *ret_address)
{
    struct sockaddr_storage address = {0};
    struct sockaddr_in *four = (struct sockaddr_in *)&address;
    struct sockaddr_in6 *six = (struct sockaddr_in6 *)&address;
    if (inet_pton(AF_INET, host, &four->sin_addr) == 1)
        address.ss_family = AF_INET;
    else if (inet_pton(AF_INET6, host, &six->sin6_addr) == 1)
        address.ss_family = AF_INET6;
    else
        return -1;
    *ret_address = address;
    return 0;
}

struct resolve *resolve_start(struct builtin *builtin, const char *host,
                              void (*done)(void *arg, const struct resolve_answer *answer),
                              void *arg)
{
    struct resolve *resolve = mem_alloc(sizeof *resolve);
    *resolve = (struct resolve){.builtin = builtin, .done = done, .arg = arg};
    resolve->later = event_new(builtin->base, -1, 0, on_later, resolve);
    if (resolve_literal(host, &resolve->answer.addresses[0]) == 0) {
        resolve->answer.count = 1;
        event_active(resolve->later, EV_TIMEOUT, 0);
        return resolve;
    }
    struct evdns_base *dns = resolver_dns(builtin);
    if (dns == NULL) {
        resolve->answer.error = "there is no resolver";
        event_active(resolve->later, EV_TIMEOUT, 0);
        return resolve;
    }
    struct evutil_addrinfo hints = {
        .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = EVUTIL_AI_ADDRCONFIG};
    resolve->asked = true;
    builtin->resolver->open++;
    evdns_getaddrinfo(dns, host, NULL, &hints, on_addresses, resolve);
    return resolve;
}

void resolve_cancel(struct resolve *resolve)
{
    if (resolve == NULL)
        return;
    if (resolve->asked)
        resolve->done = NULL; /* the resolver's answer frees it */
    else
        resolve_free(resolve);
}
