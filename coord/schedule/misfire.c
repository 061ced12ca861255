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

static void add_run(struct misfire_decision *decision, int64_t scheduled_us, bool made_up)
{
    decision->runs[decision->run_count++] =
        (struct misfire_run){.scheduled_us = scheduled_us, .made_up = made_up};
    decision->made_up_count += made_up;
}

/*
 * The occurrences on time, newest first, into on_time[]. Returns how many; *ret_late_us is the
 * newest occurrence that is not among them, SCHEDULE_NONE if all are.
 */
static int find_on_time(const struct schedule *schedule, int64_t tolerance_us, int64_t first_us,
                        int64_t now_us, int64_t on_time[MISFIRE_ON_TIME_MAX], int64_t *ret_late_us)
{
    int64_t until_us = now_us;
    for (int count = 0;; count++) {
        int64_t newest_us =
            until_us >= first_us ? schedule_newest(schedule, first_us, until_us) : SCHEDULE_NONE;
        if (newest_us == SCHEDULE_NONE && until_us >= first_us)
            newest_us = first_us; /* an occurrence by definition */
        *ret_late_us = newest_us;
        if (newest_us == SCHEDULE_NONE || count == MISFIRE_ON_TIME_MAX ||
            now_us - newest_us > tolerance_us)
            return count;
        on_time[count] = newest_us;
        until_us = newest_us - 1;
    }
}

/* The policy's answer for the occurrences from first_us to newest_us, `count` in all. */
static void make_up(const struct schedule *schedule, const struct misfire_rule *rule,
                    int64_t first_us, int64_t newest_us, int64_t count, int64_t now_us,
                    struct misfire_decision *decision)
{
    int64_t wanted = 1;
    if (rule->policy == MISFIRE_SKIP && now_us - newest_us > rule->threshold_us)
        wanted = 0;
    if (rule->policy == MISFIRE_FIRE_ALL)
        wanted = count < rule->limit ? count : rule->limit;
    decision->missed = count - wanted;
    if (wanted == 0)
        return;
    int64_t at_us = rule->policy == MISFIRE_FIRE_ALL ? first_us : newest_us;
    for (int64_t i = 0; i < wanted; i++) {
        add_run(decision, at_us, true);
        if (i + 1 < wanted)
            at_us = schedule_next(schedule, at_us);
    }
    decision->runs[decision->run_count - 1].missed = decision->missed;
}

void misfire_decide(const struct schedule *schedule, const struct misfire_rule *rule,
                    int64_t first_unfired_us, int64_t now_us, struct misfire_decision *ret_decision)
{
    int64_t on_time[MISFIRE_ON_TIME_MAX], late_us;
    assert(rule->limit >= 1 && rule->limit <= MISFIRE_LIMIT_MAX);
    assert(rule->tolerance_us >= 0 && rule->threshold_us >= 0);
    ret_decision->run_count = ret_decision->made_up_count = 0;
    ret_decision->missed = 0;
    ret_decision->next_us = first_unfired_us;
    if (first_unfired_us > now_us)
        return;
    int count =
        find_on_time(schedule, rule->tolerance_us, first_unfired_us, now_us, on_time, &late_us);
    if (late_us != SCHEDULE_NONE) {
        int64_t late_count = 1 + schedule_count(schedule, first_unfired_us, late_us);
        make_up(schedule, rule, first_unfired_us, late_us, late_count, now_us, ret_decision);
    }
    while (count > 0)
        add_run(ret_decision, on_time[--count], false);
    ret_decision->next_us = schedule_next(schedule, now_us);
}
