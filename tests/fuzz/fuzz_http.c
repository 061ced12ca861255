/*
 * The HTTP surface: any bytes as what a client sends, to a server with its thread, its connections
 * and its routes, and without a database. It answers in HTTP or closes, and serves the next one.
 */
#include "coord/http/server.h"
#include "tests/fuzz/fuzz.h"

#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

static struct http_server *server;
static struct sockaddr_in address = {.sin_family = AF_INET};

static void start(void)
{
    static const struct log log = {.level = LOG_ERROR, .fd = -1};
    static const struct http_config config = {.listen = "127.0.0.1:0",
                                              .node = "fuzz",
                                              .database_url = "host=/nowhere",
                                              .schema = "rota",
                                              .log = &log};
    struct rota_error error = {0};
    server = http_server_new(&config, &error);
    CHECK(server != NULL);
    http_server_status(server, true, NULL);
    address.sin_port =
        htons((uint16_t)strtoul(strrchr(http_server_url(server), ':') + 1, NULL, 10));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
}

/* From one address after the other: each has so many ports, which rest for a while after use. */
static int open_client(void)
{
    static unsigned count;
    const struct timeval limit = {5, 0};
    struct sockaddr_in from = {.sin_family = AF_INET};
    from.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + count++ / 8192 % 200);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(fd >= 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    CHECK(bind(fd, (const struct sockaddr *)&from, sizeof from) == 0);
    CHECK(connect(fd, (const struct sockaddr *)&address, sizeof address) == 0);
    return fd;
}

/* Whatever is sent, the answer is one of HTTP, or none. */
static void tell(const void *data, size_t size)
{
    char text[8192];
    size_t length = 0;
    ssize_t got;
    int fd = open_client();
    if (send(fd, data, size, MSG_NOSIGNAL) >= 0)
        shutdown(fd, SHUT_WR);
    while (length < sizeof text && (got = recv(fd, text + length, sizeof text - length, 0)) > 0)
        length += (size_t)got;
    CHECK(length == 0 || (length >= 5 && memcmp(text, "HTTP/", 5) == 0));
    close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char probe[] = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    static unsigned count;
    if (server == NULL)
        start();
    tell(data, size);
    if (++count % 64 == 0) {
        http_server_status(server, true, NULL);
        tell(probe, sizeof probe - 1);
    }
    return 0;
}
