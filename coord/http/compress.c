/* gzip for clients that take it, whole answers and streams alike. */
#include "coord/http/inside.h"

#include "base/memory.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#define GZIP_BITS (15 + 16) /* the widest window, with a header of gzip */
#define ROOM      16384     /* bytes at once */

struct web_gzip {
    z_stream z;
};

/* As RFC 9110 has it, without weights but for the refusal: gzip;q=0. */
bool web_gzip_wanted(const struct web_request *request)
{
    const char *at = web_request_header(request, "Accept-Encoding");
    while (at != NULL && *at != '\0') {
        at += strspn(at, " \t,");
        size_t length = strcspn(at, ",");
        if (length >= 4 && strncasecmp(at, "gzip", 4) == 0 && strchr(",; \t", at[4]) != NULL) {
            const char *weight = memmem(at, length, "q=0", 3);
            return weight == NULL ||
                   (weight[3] == '.' && strspn(weight + 4, "0") < strspn(weight + 4, "0123456789"));
        }
        at += length;
    }
    return false;
}

struct web_gzip *web_gzip_new(void)
{
    struct web_gzip *gzip = mem_alloc(sizeof *gzip);
    int failed = deflateInit2(&gzip->z, Z_BEST_SPEED, Z_DEFLATED, GZIP_BITS, 8, Z_DEFAULT_STRATEGY);
    assert(failed == Z_OK); /* memory alone could be missing */
    return gzip;
}

void web_gzip_add(struct web_gzip *gzip, const char *text, size_t length, bool last,
                  struct buffer *out)
{
    int state;
    gzip->z.next_in = (Bytef *)(uintptr_t)text;
    gzip->z.avail_in = (uInt)length;
    do {
        gzip->z.next_out = (Bytef *)buffer_reserve(out, ROOM);
        gzip->z.avail_out = ROOM;
        state = deflate(&gzip->z, last ? Z_FINISH : Z_SYNC_FLUSH);
        assert(state != Z_STREAM_ERROR);
        out->length += ROOM - gzip->z.avail_out;
    } while (gzip->z.avail_out == 0);
}

void web_gzip_free(struct web_gzip *gzip)
{
    if (gzip == NULL)
        return;
    deflateEnd(&gzip->z);
    free(gzip);
}
