/* The misfire decision: see misfire.h. */
#include "coord/schedule/misfire.h"

#include <assert.h>
#include <string.h>

static const char *const policy_names[] = {
    [MISFIRE_FIRE_ONCE] = "fire_once", [MISFIRE_SKIP] = "skip", [MISFIRE_FIRE_ALL] = "fire_all"};

int misfire_policy_parse(const char *text, enum misfire_policy *ret_policy,
                         struct rota_error *error)
{
    for (size_t i = 0; i < sizeof policy_names / sizeof *policy_names; i++)
        if (strcmp(text, policy_names[i]) == 0) {
            *ret_policy = (enum misfire_policy)i;
            return 0;
        }
    return error_set(error, ERROR_REFUSED,
                     "misfire \"%.40s\": expected \"fire_once\", \"skip\" or \"fire_all\"", text);
}

const char *misfire_policy_name(enum misfire_policy policy)
{
    return policy_names[policy];
}

/* Unfired occurrences from first_us on that are decided about at until_us. */
struct stretch {
    int64_t first_us; /* SCHEDULE_NONE: there are none */
    int64_t until_us;
    int64_t on_time_us[MISFIRE_ON_TIME_MAX]; /* newest first */
    int on_time_count;
    int64_t late_us; /* the newest that is not on time; SCHEDULE_NONE: all are */
};

static void add_run(struct misfire_decision *decision, int64_t scheduled_us, bool made_up)
{
    decision->runs[decision->run_count++] =
        (struct misfire_run){.scheduled_us = scheduled_us, .made_up = made_up};
    decision->made_up_count += made_up;
}

/* Finds those on time, `most` at most, and the newest of the others. */
static void find_on_time(const struct schedule *schedule, int64_t tolerance_us, int most,
                         struct stretch *stretch)
{
    int64_t until_us = stretch->until_us, first_us = stretch->first_us;
    for (int count = 0;; count++) {
        int64_t newest_us =
            until_us >= first_us ? schedule_newest(schedule, first_us, until_us) : SCHEDULE_NONE;
        if (newest_us == SCHEDULE_NONE && until_us >= first_us)
            newest_us = first_us; /* an occurrence by definition */
        stretch->late_us = newest_us;
        stretch->on_time_count = count;
        if (newest_us == SCHEDULE_NONE || count == most ||
            stretch->until_us - newest_us > tolerance_us)
            return;
        stretch->on_time_us[count] = newest_us;
        until_us = newest_us - 1;
    }
}

/* How many of the late occurrences the policy makes up. */
static int64_t wanted_of(const struct misfire_rule *rule, const struct stretch *stretch,
                         int64_t count, const struct misfire_decision *decision)
{
    if (rule->policy == MISFIRE_SKIP)
        return stretch->until_us - stretch->late_us <= rule->threshold_us;
    if (rule->policy == MISFIRE_FIRE_ONCE)
        return 1;
    int64_t room = rule->limit - decision->made_up_count;
    return count < room ? count : room;
}

/* The policy's answer for the occurrences from first_us to late_us. */
static void make_up(const struct schedule *schedule, const struct misfire_rule *rule,
                    const struct stretch *stretch, struct misfire_decision *decision)
{
    int64_t count = 1 + schedule_count(schedule, stretch->first_us, stretch->late_us);
    int64_t wanted = wanted_of(rule, stretch, count, decision);
    decision->missed += count - wanted;
    if (wanted == 0)
        return;
    int64_t at_us = rule->policy == MISFIRE_FIRE_ALL ? stretch->first_us : stretch->late_us;
    for (int64_t i = 0; i < wanted; i++) {
        add_run(decision, at_us, true);
        if (i + 1 < wanted)
            at_us = schedule_next(schedule, at_us);
    }
    decision->runs[decision->run_count - 1].missed = count - wanted;
}

static void decide(const struct schedule *schedule, const struct misfire_rule *rule,
                   const struct stretch *stretch, struct misfire_decision *decision)
{
    if (stretch->late_us != SCHEDULE_NONE)
        make_up(schedule, rule, stretch, decision);
    for (int i = stretch->on_time_count; i > 0; i--)
        add_run(decision, stretch->on_time_us[i - 1], false);
}

/* How many occurrences are passed over; *ret_after_us is the first that comes after them. */
static int64_t pass_over(const struct schedule *schedule, const struct misfire_pass *pass,
                         int64_t first_us, int64_t *ret_after_us)
{
    int64_t last_us = pass->until_us - 1;
    *ret_after_us = schedule_next(schedule, last_us);
    if (first_us >= pass->from_us)
        return 1 + schedule_count(schedule, first_us, last_us);
    return schedule_count(schedule, pass->from_us - 1, last_us);
}

void misfire_decide_passing(const struct schedule *schedule, const struct misfire_rule *rule,
                            int64_t first_unfired_us, const struct misfire_pass *pass,
                            int64_t now_us, struct misfire_decision *ret_decision)
{
    struct stretch before = {.first_us = SCHEDULE_NONE, .late_us = SCHEDULE_NONE};
    struct stretch after = {.first_us = first_unfired_us, .until_us = now_us};
    assert(rule->limit >= 1 && rule->limit <= MISFIRE_LIMIT_MAX);
    assert(rule->tolerance_us >= 0 && rule->threshold_us >= 0);
    ret_decision->run_count = ret_decision->made_up_count = 0;
    ret_decision->missed = 0;
    ret_decision->next_us = first_unfired_us;
    if (first_unfired_us > now_us)
        return;
    if (pass != NULL && pass->until_us != SCHEDULE_UNSET && pass->from_us < pass->until_us &&
        pass->from_us <= now_us && first_unfired_us < pass->until_us) {
        ret_decision->missed = pass_over(schedule, pass, first_unfired_us, &after.first_us);
        if (first_unfired_us < pass->from_us) {
            before.first_us = first_unfired_us;
            before.until_us = pass->from_us - 1;
        }
    }
    find_on_time(schedule, rule->tolerance_us, MISFIRE_ON_TIME_MAX, &after);
    if (before.first_us != SCHEDULE_NONE)
        find_on_time(schedule, rule->tolerance_us, MISFIRE_ON_TIME_MAX - after.on_time_count,
                     &before);
    decide(schedule, rule, &before, ret_decision);
    decide(schedule, rule, &after, ret_decision);
    ret_decision->next_us =
        after.first_us > now_us ? after.first_us : schedule_next(schedule, now_us);
}

void misfire_decide(const struct schedule *schedule, const struct misfire_rule *rule,
                    int64_t first_unfired_us, int64_t now_us, struct misfire_decision *ret_decision)
{
    misfire_decide_passing(schedule, rule, first_unfired_us, NULL, now_us, ret_decision);
}
