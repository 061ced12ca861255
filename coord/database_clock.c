/* The bounds of the database's clock: see database_clock.h. Pure, no input or output. */
#include "coord/database_clock.h"

#define DRIFT_PER_US 50000 /* 20 ppm: two clocks that are disciplined keep far closer */

static int64_t later(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* How far the answer is outside of what is known; 0: both can be true. */
static int64_t apart(const struct database_clock *known, int64_t least_us, int64_t most_us)
{
    if (least_us > known->most_us)
        return least_us - known->most_us;
    return most_us < known->least_us ? most_us - known->least_us : 0;
}

int64_t database_clock_hear(struct database_clock *clock, int64_t database_us, int64_t sent_us,
                            int64_t received_us)
{
    /* both clocks cut off what is below a microsecond */
    int64_t least = database_us - received_us - 1, most = database_us - sent_us + 1;
    int64_t jump = 0;
    if (clock->heard_us != 0) {
        int64_t drift = (received_us - clock->heard_us) / DRIFT_PER_US + 1;
        struct database_clock known = {clock->least_us - drift, clock->most_us + drift, 0};
        jump = apart(&known, least, most);
        if (jump == 0) {
            least = later(least, known.least_us);
            most = earlier(most, known.most_us);
        }
    }
    *clock = (struct database_clock){least, most, received_us};
    return jump;
}

int64_t database_clock_at(const struct database_clock *clock, int64_t now_us)
{
    return now_us + clock->least_us;
}
