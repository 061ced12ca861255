/* The routes of actions: what is changed by POST and DELETE. */
#include "coord/http/act.h"
#include "coord/http/routes.h"

#define HANDLER(name)                                                                              \
    static void name(struct web_request *request)                                                  \
    {                                                                                              \
        web_action(request, web_act_##name);                                                       \
    }

HANDLER(pause_trigger)
HANDLER(resume_trigger)
HANDLER(pause_job)
HANDLER(resume_job)
HANDLER(pause_source)
HANDLER(resume_source)
HANDLER(pause_all)
HANDLER(resume_all)
HANDLER(reset)
HANDLER(reschedule)
HANDLER(delete_job)
HANDLER(delete_trigger)
HANDLER(drain)
HANDLER(standby)
HANDLER(resume_node)
HANDLER(evict)
HANDLER(fire_job)
HANDLER(fire_trigger)
HANDLER(enqueue)
HANDLER(cancel)
HANDLER(retry)
HANDLER(discard)
HANDLER(cancel_job)
HANDLER(retry_job)

static const char *const conflicts[] = {"reject", "existing", "replace", "keep_time", NULL};

static const struct web_parameter nothing[] = {{0}};
static const struct web_parameter of_resume[] = {
    {"catch_up", "boolean", NULL, "what fell meanwhile meets the misfire policy"},
    {0},
};
static const struct web_parameter of_enqueue[] = {
    {"data", "object", NULL, "laid over the job's"},
    {"items", "array", NULL, "data of 1 to 1000 runs, instead of `data`"},
    {"at", "string", NULL, "when it may start (RFC 3339)"},
    {"in", "string", NULL, "the same as a duration from now"},
    {"priority", "integer", NULL, "1 to 100; the job's where it is not given"},
    {"key", "string", NULL, "at most one such run at a time"},
    {"on_conflict", "string", conflicts, "what is done where the key is taken"},
    {"after", "array", NULL, "ids of runs it waits for"},
    {"after_any", "boolean", NULL, "whatever becomes of those"},
    {"expires_in", "string", NULL, "not started so long after its time it is dropped"},
    {"traceparent", "string", NULL, "W3C trace context"},
    {0},
};
static const struct web_parameter of_reschedule[] = {
    {"cron", "string", NULL, "cron expression"},
    {"every", "string", NULL, "a period: 90s, 5m, 1d"},
    {"at", "string", NULL, "once (RFC 3339)"},
    {"calendar_interval", "string", NULL, "\"1 month\", keeping the time of day"},
    {"daily", "object", NULL, "{\"from\":\"08:00\",\"to\":\"18:00\",\"every\":\"30m\"}"},
    {"repeat", "integer", NULL, "firings after the first; null: without end"},
    {"timezone", "string", NULL, "IANA zone; null: UTC"},
    {"start_at", "string", NULL, "no firing before it; null: no such limit"},
    {"end_at", "string", NULL, "no firing after it; null: no such limit"},
    {0},
};
static const struct web_parameter of_cancel[] = {
    {"reason", "string", NULL, "for the history and the worker"},
    {0},
};
static const struct web_parameter of_retry[] = {
    {"again", "boolean", NULL, "though it was run again or discarded before"},
    {0},
};
static const struct web_parameter of_cancel_job[] = {
    {"reason", "string", NULL, "for the history and the workers"},
    {"after", "integer", NULL, "go on after this run: `last` of the answer before"},
    {0},
};
static const struct web_parameter of_retry_job[] = {
    {"outcome", "string", NULL, "failed, timeout, lost …; default: all but cancelled and expired"},
    {0},
};

const struct web_route web_action_routes[] = {
    {"POST", "/api/jobs/:name/enqueue", WEB_OPERATE, enqueue, "Queues a run, or up to 1000",
     .body = of_enqueue, .answer = "Enqueued"},
    {"POST", "/api/jobs/:name/fire", WEB_OPERATE, fire_job, "One extra firing now", .body = nothing,
     .answer = "Fired"},
    {"POST", "/api/jobs/:name/pause", WEB_OPERATE, pause_job,
     "Stops its triggers and holds its waiting runs", .body = nothing, .answer = "Paused"},
    {"POST", "/api/jobs/:name/resume", WEB_OPERATE, resume_job, "Takes its pause back",
     .body = of_resume, .answer = "Paused"},
    {"POST", "/api/jobs/:name/cancel", WEB_OPERATE, cancel_job,
     "Ends its runs, waiting or running, up to 1000 at a time", .body = of_cancel_job,
     .answer = "RunAnswers"},
    {"POST", "/api/jobs/:name/retry", WEB_OPERATE, retry_job,
     "Runs once more what failed and nobody has settled, up to 1000 at a time",
     .body = of_retry_job, .answer = "RunAnswers"},
    {"DELETE", "/api/jobs/:name", WEB_ADMIN, delete_job,
     "Deletes it and its triggers; its waiting runs are cancelled", .body = nothing},
    {"POST", "/api/triggers/:name/fire", WEB_OPERATE, fire_trigger, "One extra firing now",
     .body = nothing, .answer = "Fired"},
    {"POST", "/api/triggers/:name/pause", WEB_OPERATE, pause_trigger, "Stops it", .body = nothing,
     .answer = "Paused"},
    {"POST", "/api/triggers/:name/resume", WEB_OPERATE, resume_trigger, "Takes its pause back",
     .body = of_resume, .answer = "Paused"},
    {"POST", "/api/triggers/:name/reset", WEB_OPERATE, reset,
     "Out of error, if what put it there is set right", .body = nothing, .answer = "Reset"},
    {"POST", "/api/triggers/:name/reschedule", WEB_OPERATE, reschedule, "Another schedule for it",
     .body = of_reschedule, .answer = "Rescheduled"},
    {"DELETE", "/api/triggers/:name", WEB_ADMIN, delete_trigger, "Deletes it", .body = nothing},
    {"POST", "/api/runs/:id/cancel", WEB_OPERATE, cancel, "Ends it, waiting or running",
     .body = of_cancel, .answer = "RunAnswer"},
    {"POST", "/api/runs/:id/retry", WEB_OPERATE, retry, "Runs what is over once more",
     .body = of_retry, .answer = "RunAnswer"},
    {"POST", "/api/runs/:id/discard", WEB_OPERATE, discard,
     "What failed is settled so: it is not run again", .body = nothing, .answer = "RunAnswer"},
    {"POST", "/api/nodes/:name/drain", WEB_OPERATE, drain,
     "It finishes what it has and stops; a second time it hurries", .body = nothing,
     .answer = "Wish"},
    {"POST", "/api/nodes/:name/standby", WEB_OPERATE, standby, "It takes nothing more",
     .body = nothing, .answer = "Wish"},
    {"POST", "/api/nodes/:name/resume", WEB_OPERATE, resume_node, "It fires again", .body = nothing,
     .answer = "Wish"},
    {"POST", "/api/nodes/:name/evict", WEB_ADMIN, evict,
     "Declares it dead: the others take its runs over", .body = nothing, .answer = "Wish"},
    {"POST", "/api/sources/:name/pause", WEB_OPERATE, pause_source, "Pauses what it declares",
     .body = nothing, .answer = "Paused"},
    {"POST", "/api/sources/:name/resume", WEB_OPERATE, resume_source, "Takes that pause back",
     .body = of_resume, .answer = "Paused"},
    {"POST", "/api/pause", WEB_ADMIN, pause_all, "Pauses everything", .body = nothing,
     .answer = "Paused"},
    {"POST", "/api/resume", WEB_ADMIN, resume_all, "Takes that pause back", .body = of_resume,
     .answer = "Paused"},
    {"POST", "/api/reset", WEB_OPERATE, reset, "All triggers out of error", .body = nothing,
     .answer = "Reset"},
    {0},
};
