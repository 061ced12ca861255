/*
 * What happens to occurrences that nobody fired in time: the contract's misfire paragraph as one
 * pure function of the schedule, the policy and two instants (wall clock microseconds). The caller
 * stores what is decided and paces the runs that are made up.
 */
#ifndef COORD_SCHEDULE_MISFIRE_H
#define COORD_SCHEDULE_MISFIRE_H

#include "base/error.h"
#include "coord/schedule/schedule.h"

#include <stdbool.h>

/* On time at once, of one trigger: a tick of 1 s may lag by the tolerance. */
#define MISFIRE_ON_TIME_MAX  10
#define MISFIRE_LIMIT_MAX    1000 /* a larger misfire_limit is refused: it would flood the queue */
#define MISFIRE_TOLERANCE_US INT64_C(5000000)
#define MISFIRE_THRESHOLD_US (INT64_C(15) * 60 * 1000000)
#define MISFIRE_LIMIT        100

enum misfire_policy { MISFIRE_FIRE_ONCE, MISFIRE_SKIP, MISFIRE_FIRE_ALL };

struct misfire_rule {
    enum misfire_policy policy;
    int limit;            /* fire_all: at most this many are made up, 1 to MISFIRE_LIMIT_MAX */
    int64_t tolerance_us; /* at most this late is no misfire; 0 or more */
    int64_t threshold_us; /* skip: the newest is made up if at most this late; 0 or more */
};

#define MISFIRE_RULE_DEFAULT                                                                       \
    {                                                                                              \
        MISFIRE_FIRE_ONCE, MISFIRE_LIMIT, MISFIRE_TOLERANCE_US, MISFIRE_THRESHOLD_US               \
    }

struct misfire_run {
    int64_t scheduled_us;
    int64_t missed; /* older occurrences this run stands for, besides its own */
    bool made_up;   /* by the policy, not fired on time */
};

struct misfire_decision {
    struct misfire_run runs[MISFIRE_LIMIT_MAX + MISFIRE_ON_TIME_MAX]; /* in order of time */
    int run_count;
    int made_up_count;
    int64_t missed;  /* occurrences that get no run */
    int64_t next_us; /* the trigger's new next_at, after now; SCHEDULE_NONE: it is complete */
};

int misfire_policy_parse(const char *text, enum misfire_policy *ret_policy,
                         struct rota_error *error); /* 0, or -1 with what would be right */
const char *misfire_policy_name(enum misfire_policy policy);

/* Occurrences at from_us or later and before until_us fell while the trigger was paused. */
struct misfire_pass {
    int64_t from_us;
    int64_t until_us; /* SCHEDULE_UNSET: none did */
};

/*
 * Decides about the occurrences from first_unfired_us (the trigger's stored next_at, itself one
 * even if the schedule has changed since) up to now_us. Those at most the tolerance late, the
 * newest MISFIRE_ON_TIME_MAX of them, get a run each; the older ones meet the policy.
 */
void misfire_decide(const struct schedule *schedule, const struct misfire_rule *rule,
                    int64_t first_unfired_us, int64_t now_us,
                    struct misfire_decision *ret_decision);

/*
 * The same for a trigger that was paused. What is older than the pause is decided as it would have
 * been just before it began, what is inside is counted in `missed` and stands behind no run, what
 * is newer is decided as always. Both together have no more than the newest MISFIRE_ON_TIME_MAX on
 * time and, of fire_all, the oldest `limit` made up. A pass that begins after now, by a clock that
 * was set back, is none.
 */
void misfire_decide_passing(const struct schedule *schedule, const struct misfire_rule *rule,
                            int64_t first_unfired_us, const struct misfire_pass *pass,
                            int64_t now_us, struct misfire_decision *ret_decision);

#endif
