/*
 * Inside the library for workers in C: as much JSON as its messages need. Reading finds the members
 * of an object and leaves their values as they are; writing puts lines together.
 */
#ifndef WORKER_SDK_ROTA_JSON_H
#define WORKER_SDK_ROTA_JSON_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

struct rota_text {
    char *data; /* NUL-terminated once something was put; NULL before */
    size_t length, capacity;
};

/* The raw value of a member, without spaces around it; NULL: not there, or `json` is no object. */
const char *rota_json_find(const char *json, const char *key, size_t *ret_length);

void rota_text_put(struct rota_text *text, const char *bytes, size_t length);
void rota_text_format(struct rota_text *text, const char *format, va_list arguments);
void rota_text_string(struct rota_text *text, const char *string); /* as a JSON string */
void rota_text_json(struct rota_text *text, const char *json);     /* line breaks become spaces */
void rota_text_int(struct rota_text *text, int64_t number);
void rota_text_add(struct rota_text *text, const char *plain);
void rota_text_free(struct rota_text *text);

/* Allocation or the end of the process, as nothing could be answered either. */
void *rota_memory(void *old, size_t size);

#endif
