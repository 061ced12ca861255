/* TLS of the HTTP server: see tls.h. */
#include "coord/http/tls.h"

#include "base/memory.h"

#include <assert.h>
#include <event2/bufferevent.h>
#include <event2/bufferevent_ssl.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdlib.h>

struct web_tls {
    const char *cert, *key; /* paths */
    SSL_CTX *context;
};

static int fail(struct rota_error *error, const char *setting, const char *path, const char *what)
{
    char reason[200] = "unknown";
    unsigned long code = ERR_get_error();
    if (code != 0)
        ERR_error_string_n(code, reason, sizeof reason);
    ERR_clear_error();
    return error_set(error, ERROR_REFUSED, "%s \"%s\" %s: %s", setting, path, what, reason);
}

/* TLS 1.2 at least, with the ciphers of OpenSSL's own choice; no renegotiation, no compression. */
static SSL_CTX *make_context(const struct web_tls *tls, struct rota_error *error)
{
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    if (context == NULL) {
        fail(error, "TLS", "", "cannot be used");
        return NULL;
    }
    SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
    SSL_CTX_set_options(context, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION |
                                     SSL_OP_CIPHER_SERVER_PREFERENCE |
                                     SSL_OP_IGNORE_UNEXPECTED_EOF);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    int failed = 0;
    if (SSL_CTX_use_certificate_chain_file(context, tls->cert) != 1)
        failed = fail(error, "http_tls_cert", tls->cert, "cannot be used");
    else if (SSL_CTX_use_PrivateKey_file(context, tls->key, SSL_FILETYPE_PEM) != 1)
        failed = fail(error, "http_tls_key", tls->key, "cannot be used");
    else if (SSL_CTX_check_private_key(context) != 1)
        failed = fail(error, "http_tls_key", tls->key, "is not that of the certificate");
    if (failed == 0)
        return context;
    SSL_CTX_free(context);
    return NULL;
}

struct web_tls *web_tls_new(const char *cert, const char *key, struct rota_error *error)
{
    struct web_tls *tls = mem_alloc(sizeof *tls);
    *tls = (struct web_tls){.cert = cert, .key = key};
    tls->context = make_context(tls, error);
    if (tls->context != NULL)
        return tls;
    free(tls);
    return NULL;
}

int web_tls_reload(struct web_tls *tls, struct rota_error *error)
{
    SSL_CTX *context = make_context(tls, error);
    if (context == NULL)
        return -1;
    SSL_CTX_free(tls->context); /* connections that have it keep it */
    tls->context = context;
    return 0;
}

struct bufferevent *web_tls_open(struct web_tls *tls, struct event_base *base)
{
    SSL *ssl = SSL_new(tls->context);
    assert(ssl != NULL); /* memory alone could be missing; never a plain connection instead */
    struct bufferevent *buffers = bufferevent_openssl_socket_new(
        base, -1, ssl, BUFFEREVENT_SSL_ACCEPTING, BEV_OPT_CLOSE_ON_FREE);
    assert(buffers != NULL);
    return buffers;
}

void web_tls_free(struct web_tls *tls)
{
    if (tls == NULL)
        return;
    SSL_CTX_free(tls->context);
    free(tls);
}
