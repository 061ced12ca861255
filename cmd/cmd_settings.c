/* `rota settings`: every setting with its value and where that came from; passwords are masked. */
#include "cmd/cmd.h"

#include "base/buffer.h"
#include "base/memory.h"
#include "cmd/settings.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char *shown_value(const struct settings *settings, enum setting_id id)
{
    const char *text = settings_text(settings, id);
    if (text == NULL)
        return NULL;
    if (id == SETTING_DATABASES)
        return settings_mask_databases(text);
    if (id == SETTING_WORKER_TOKEN)
        return mem_string(text != NULL ? "***" : NULL);
    return settings_row(id)->secret ? settings_mask(text) : mem_string(text);
}

static void put_text(struct buffer *out, const char *name, const char *text)
{
    buffer_format(out, "\"%s\":", name);
    if (text != NULL)
        buffer_json(out, text, strlen(text));
    else
        buffer_string(out, "null");
}

static void put_setting(struct buffer *out, const struct settings *settings, enum setting_id id)
{
    char flag[64], variable[64];
    char *value = shown_value(settings, id);
    settings_flag_name(id, flag, sizeof flag);
    settings_variable_name(id, variable, sizeof variable);
    buffer_char(out, '{');
    put_text(out, "name", settings_row(id)->name);
    buffer_char(out, ',');
    put_text(out, "value", value);
    buffer_char(out, ',');
    put_text(out, "origin", settings_origin(settings, id));
    buffer_char(out, ',');
    put_text(out, "default", settings_row(id)->standard);
    buffer_char(out, ',');
    put_text(out, "flag", flag);
    buffer_char(out, ',');
    put_text(out, "environment", variable);
    buffer_char(out, ',');
    put_text(out, "help", settings_row(id)->help);
    buffer_char(out, '}');
    free(value);
}

static void print_json(const struct settings *settings)
{
    struct buffer out = {0};
    buffer_string(&out, "{\"settings\":[");
    for (int id = 0; id < SETTING_COUNT; id++) {
        buffer_string(&out, id > 0 ? ",\n" : "\n");
        put_setting(&out, settings, (enum setting_id)id);
    }
    buffer_string(&out, "\n]}\n");
    fputs(buffer_text(&out), stdout);
    buffer_free(&out);
}

static void print_table(const struct settings *settings)
{
    printf("%-21s %-32s %s\n", "SETTING", "VALUE", "FROM");
    for (int id = 0; id < SETTING_COUNT; id++) {
        char *value = shown_value(settings, (enum setting_id)id);
        printf("%-21s %-32s %s\n", settings_row((enum setting_id)id)->name,
               value != NULL ? value : "-", settings_origin(settings, (enum setting_id)id));
        free(value);
    }
}

int cmd_settings(int argc, char **argv)
{
    static const char *const own[] = {"--json", NULL};
    struct rota_error error;
    struct settings *settings = settings_new(SCOPE_ALL);
    bool json = false;
    int code = 0;
    if (cmd_wants_help(argc, argv)) {
        printf(
            "Usage: rota settings [--json] [SETTINGS]\n\nEvery setting with its value and where "
            "that came from; a node started with the same flags,\nenvironment and file would run "
            "with them.\n\n");
        settings_print_help(stdout, SCOPE_ALL);
        goto out;
    }
    for (int i = 1; i < argc && code == 0; i++) {
        if (strcmp(argv[i], "--json") == 0) {
            json = true;
            continue;
        }
        int taken = settings_take_flag(settings, argc, argv, &i, &error);
        if (taken <= 0)
            code = taken < 0 ? cmd_fail("settings", &error)
                             : cmd_unknown("settings", argv[i], own, SCOPE_ALL);
    }
    if (code == 0 && settings_load(settings, &error) != 0)
        code = cmd_fail("settings", &error);
    if (code == 0 && json)
        print_json(settings);
    else if (code == 0)
        print_table(settings);
out:
    settings_free(settings);
    return code;
}
