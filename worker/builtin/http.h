/*
 * Inside the handler `http` only. http_request.c reads the run's data, http_headers.c its headers,
 * http_target.c says where it may go, http_client.c is libcurl on the worker's loop, http.c is the
 * life of a run, http_answer.c what comes of it.
 */
#ifndef WORKER_BUILTIN_HTTP_H
#define WORKER_BUILTIN_HTTP_H

#include "worker/builtin/builtin.h"
#include "worker/builtin/http_target.h"
#include "worker/builtin/settings.h"

#include "base/buffer.h"
#include "base/error.h"
#include "base/json.h"

#include <curl/curl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HTTP_HEADERS_MAX  64            /* of a request */
#define HTTP_EXPECT_MAX   32            /* entries of "expect" */
#define HTTP_FOLLOW_MAX   10            /* redirects of a run */
#define HTTP_SHOWN_MAX    250           /* bytes of a header of the response in the details */
#define HTTP_KEPT_MAX     8192          /* bytes of a response in the details: its beginning */
#define HTTP_RESPONSE_MAX (1024 * 1024) /* bytes of a response that may be asked for */

struct http_header {
    char *name, *value;
    bool bound; /* to the first origin: not sent to another one after a redirect */
    bool body;  /* is about the body: goes with it */
};

struct http_expect {
    int low, high;
};

struct http_request {
    char *method, *url;
    struct http_header headers[HTTP_HEADERS_MAX];
    size_t header_count;
    struct buffer body;
    bool has_body;
    struct http_expect expect[HTTP_EXPECT_MAX];
    size_t expect_count;
    int64_t timeout_us;
    int64_t response_max;
    int follow;
    char **secrets; /* texts that no answer of ours may hold */
    size_t secret_count;
};

/* What of a run's message the reading of a request needs. */
struct http_source {
    const struct json *message;
    const struct json_value *data;
    const struct builtin_settings *settings;
};

/* Reads the run's message. 0, or -1 with what is wrong and what would be right. */
int http_request_read(struct http_request *ret_request, struct slice line,
                      const struct builtin_settings *settings, struct rota_error *error);
void http_request_free(struct http_request *request);
bool http_request_expects(const struct http_request *request, long status);

/* --- http_headers.c --- */
int http_headers_read(struct http_request *request, const struct http_source *source,
                      struct rota_error *error);
int http_sign(struct http_request *request, const struct http_source *source,
              struct rota_error *error);
/* A text without control characters. */
bool http_is_clean(const char *text);

/* --- a run --- */

struct http {
    struct task task;
    struct http_request request;
    struct http_target origin; /* of the first request */
    struct http_target target; /* of this one */
    struct resolve *resolve;   /* NULL: not under way */
    struct event *timer;       /* the end of its time */
    CURL *easy;                /* NULL: no request is out */
    struct curl_slist *headers, *pins;
    char curl_error[CURL_ERROR_SIZE];
    struct rota_error refused; /* an address that may not be connected to */
    int redirects;
    long status;
    size_t header_bytes, received;
    struct buffer body; /* the first HTTP_KEPT_MAX bytes */
    bool truncated;     /* more was to come than response_max */
    char *content_type, *location, *retry_after;
};

void http_open(struct http *http);  /* the request to http->request.url, the first or a next one */
void http_close(struct http *http); /* ends the request that is out; the run goes on */
void http_free(struct http *http);
/* The request is over; `code` is of libcurl. */
void http_ended(struct http *http, CURLcode code);

/* --- http_client.c --- */
struct http_client;
/* 0 once the request of http->easy is under way. */
int http_client_add(struct builtin *builtin, CURL *easy);
void http_client_remove(struct builtin *builtin, CURL *easy);
void http_client_free(struct http_client *client);

/* --- http_answer.c --- */
/* Each answers the run and frees it. */
void http_answer(struct http *http); /* by its status */
void http_fail(struct http *http, const char *exception, const char *message, bool final);

#endif
