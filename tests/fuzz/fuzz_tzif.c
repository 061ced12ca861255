/* Zone files: any bytes; what is taken is a table of spans without a hole, and local times have
 * their instants. */
#include "coord/schedule/zone.h"
#include "tests/fuzz/fuzz.h"

/* A local time that an instant has is in no gap, and each of its instants shows it. */
static void check_local(const struct zone *zone, int64_t instant_s)
{
    int64_t instants[2], local_s = instant_s + zone_offset(zone, instant_s);
    int count = zone_instants(zone, local_s, instants);
    CHECK(count == 1 || (count == 2 && instants[0] < instants[1]));
    for (int i = 0; i < count; i++)
        CHECK(instants[i] + zone_offset(zone, instants[i]) == local_s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rota_error error = {0};
    struct zone *zone = zone_parse("fuzz", data, size, &error);
    if (zone == NULL) {
        CHECK(error.message[0] != '\0');
        return 0;
    }
    size_t count = zone_span_count(zone);
    CHECK(count > 0);
    for (size_t i = 0; i < count; i++) {
        struct zone_span span = zone_span(zone, i);
        CHECK(span.start_s < span.end_s);
        CHECK(span.start_s == (i == 0 ? ZONE_BEGIN_S : zone_span(zone, i - 1).end_s));
        CHECK(i + 1 < count || span.end_s == ZONE_END_S);
        CHECK(span.offset_s > -ZONE_OFFSET_MAX_S && span.offset_s < ZONE_OFFSET_MAX_S);
        if (i > 0) {
            CHECK(zone_find(zone, span.start_s) == i && zone_find(zone, span.start_s - 1) == i - 1);
            CHECK(zone_offset(zone, span.start_s) == span.offset_s);
            check_local(zone, span.start_s);
            check_local(zone, span.start_s - 1);
        }
    }
    CHECK(zone_fixed(zone) == (count == 1));
    zone_unref(zone);
    return 0;
}
