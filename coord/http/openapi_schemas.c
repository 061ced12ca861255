/* The schemas of answers in /api/openapi.json: what a client may rely on, no more. */
#include "coord/http/routes.h"

#define TEXT       "{\"type\":\"string\"}"
#define TEXT_NULL  "{\"type\":[\"string\",\"null\"]}"
#define TIME       "{\"type\":\"string\",\"format\":\"date-time\"}"
#define TIME_NULL  "{\"type\":[\"string\",\"null\"],\"format\":\"date-time\"}"
#define INT        "{\"type\":\"integer\"}"
#define INT_NULL   "{\"type\":[\"integer\",\"null\"]}"
#define BOOL       "{\"type\":\"boolean\"}"
#define INTS       "{\"type\":\"array\",\"items\":" INT "}"
#define TEXTS      "{\"type\":\"array\",\"items\":" TEXT "}"
#define OBJECTS    "{\"type\":\"array\",\"items\":{\"type\":\"object\"}}"
#define REF(name)  "{\"$ref\":\"#/components/schemas/" name "\"}"
#define REFS(name) "{\"type\":\"array\",\"items\":" REF(name) "}"
#define OBJECT(name, required, properties)                                                         \
    "\"" name "\":{\"type\":\"object\",\"required\":[" required "],\"properties\":{" properties "}}"

const char *const web_openapi_schemas[] = {
    OBJECT("Error", "\"message\"",
           "\"message\":" TEXT ",\"errors\":{\"type\":\"object\",\"additionalProperties\":" TEXT
           "}"),
    OBJECT("Task",
           "\"id\",\"task\",\"db_id\",\"started_at\",\"ended_at\",\"duration\",\"task_"
           "details\","
           "\"status\",\"logs\"",
           "\"id\":" INT ",\"task\":" TEXT ",\"db_id\":" INT_NULL ",\"started_at\":" TIME_NULL
           ",\"ended_at\":" TIME_NULL ",\"duration\":" INT_NULL
           ",\"task_details\":{\"type\":[\"object\",\"null\"]},"
           "\"status\":{\"type\":\"string\",\"enum\":[\"started\",\"success\",\"failed\","
           "\"unknown\"]},\"logs\":{\"type\":[\"array\",\"null\"]},\"outcome\":" TEXT_NULL
           ",\"node\":" TEXT_NULL ",\"attempt\":" INT ",\"scheduled_at\":" TIME
           ",\"trigger\":" TEXT_NULL ",\"missed\":" INT ",\"misfired\":" BOOL),
    OBJECT("TaskList", "\"total\",\"limit\",\"offset\",\"data\"",
           "\"total\":" INT ",\"limit\":" INT_NULL ",\"offset\":" INT_NULL
           ",\"data\":" REFS("Task")),
    "\"TaskNames\":" TEXTS,
    OBJECT("TaskInfo", "\"scheduler\",\"jobs\"",
           "\"scheduler\":" TEXTS ",\"jobs\":" REFS("TaskInfoJob")),
    OBJECT("TaskInfoJob", "\"key\",\"class\",\"triggers\"",
           "\"key\":" TEXT ",\"class\":" TEXT ",\"description\":" TEXT_NULL
           ",\"concurrent-execution-disallowed?\":" BOOL ",\"durable?\":" BOOL
           ",\"requests-recovery?\":" BOOL ",\"triggers\":" REFS("TaskInfoTrigger")),
    OBJECT("TaskInfoTrigger", "\"key\",\"state\",\"schedule\"",
           "\"key\":" TEXT ",\"description\":" TEXT_NULL
           ",\"state\":{\"type\":\"string\",\"enum\":[\"NORMAL\",\"PAUSED\",\"COMPLETE\","
           "\"ERROR\",\"BLOCKED\"]},\"start-time\":" TIME_NULL ",\"end-time\":" TIME_NULL
           ",\"next-fire-time\":" TIME_NULL ",\"previous-fire-time\":" TIME_NULL
           ",\"final-fire-time\":" TIME_NULL ",\"priority\":" INT ",\"may-fire-again?\":" BOOL
           ",\"misfire-instruction\":" TEXT ",\"schedule\":" TEXT_NULL ",\"timezone\":" TEXT
           ",\"data\":{\"type\":\"object\"}"),
    OBJECT("List", "\"total\",\"data\"",
           "\"total\":" INT_NULL ",\"limit\":" INT ",\"offset\":" INT ",\"data\":" OBJECTS
           ",\"next\":" TEXT_NULL),
    OBJECT("Enqueued", "\"runs\",\"conflicts\"", "\"runs\":" INTS ",\"conflicts\":" OBJECTS),
    OBJECT("Fired", "\"run\"", "\"run\":" INT),
    OBJECT("Paused", "\"action\",\"scope\",\"triggers_changed\"",
           "\"action\":" TEXT ",\"scope\":" TEXT ",\"name\":" TEXT_NULL ",\"triggers_changed\":" INT
           ",\"triggers_paused\":" INT ",\"runs_held\":" INT ",\"paused_by\":" TEXTS),
    OBJECT("Reset", "\"reset\",\"failed\"", "\"reset\":" OBJECTS ",\"failed\":" OBJECTS),
    OBJECT("Rescheduled", "\"trigger\",\"job\",\"changed\"",
           "\"trigger\":" TEXT ",\"job\":" TEXT ",\"changed\":" BOOL ",\"paused\":" BOOL
           ",\"next_fire_time\":" TIME_NULL),
    OBJECT("RunAnswer", "\"run\",\"answer\"", "\"run\":" INT ",\"new\":" INT ",\"answer\":" TEXT),
    OBJECT("RunAnswers", "\"runs\",\"more\",\"last\"",
           "\"runs\":" OBJECTS ",\"more\":" BOOL ",\"last\":" INT_NULL),
    OBJECT("Wish", "\"node\",\"wish\",\"before\",\"already\"",
           "\"node\":" TEXT ",\"wish\":" TEXT ",\"before\":" TEXT ",\"already\":" BOOL),
    OBJECT("OpenApi", "\"openapi\",\"info\",\"paths\"",
           "\"openapi\":" TEXT ",\"info\":{\"type\":\"object\"},\"paths\":{\"type\":\"object\"}"),
    NULL,
};
