/* The fields of a cron expression, shared by its parser and its explanation in words. */
#ifndef COORD_SCHEDULE_CRON_FIELD_H
#define COORD_SCHEDULE_CRON_FIELD_H

#include "base/buffer.h"

enum cron_field_id {
    CRON_SECOND,
    CRON_MINUTE,
    CRON_HOUR,
    CRON_DAY,
    CRON_MONTH,
    CRON_WEEKDAY,
    CRON_YEAR,
    CRON_FIELDS
};

struct cron_field {
    const char *name;
    int low;
    int high;
    int number_max; /* the highest number one may write: 7 is Sunday too in Unix */
    int step_max;
    int hash_high;            /* H without a range goes up to here */
    const char *const *names; /* of low, low + 1, …: the first three letters count; NULL: none */
    const char *expects;
};

extern const char *const cron_month_names[12];
extern const char *const cron_weekday_names[7]; /* from Sunday, as all bits of weekdays here */

/* In five fields the weekdays count from Sunday = 0, in six and seven from Sunday = 1. */
const struct cron_field *cron_field(enum cron_field_id id, bool is_unix);

/* "Monday to Friday" */
void cron_describe_weekdays(unsigned weekdays, struct buffer *text);

/* A set of values of one field as the parser collects it. */
struct cron_set {
    uint64_t bits[4]; /* bit 0: the field's lowest value */
    bool is_star;     /* a bare * */
    bool is_question; /* a bare ? */
    bool is_special;  /* an L, nL or n#k of the weekday, which stands alone */
};

#endif
