/* What commands share in talking to their user: errors, options, help. See cmd.h. */
#include "cmd/cmd.h"

#include "base/memory.h"
#include "base/text.h"
#include "cmd/settings.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int cmd_fail(const char *command, const struct rota_error *error)
{
    fflush(stdout);
    fprintf(stderr, "rota %s: %s%s\n", command, error->message,
            error->code == ERROR_USAGE ? " (see --help)" : "");
    return (int)error->code;
}

int cmd_usage(const char *command, const char *format, ...)
{
    struct rota_error error = {.code = ERROR_USAGE};
    va_list args;
    va_start(args, format);
    vsnprintf(error.message, sizeof error.message, format, args);
    va_end(args);
    return cmd_fail(command, &error);
}

int cmd_unknown(const char *command, const char *argument, const char *const *own_options,
                unsigned setting_scope)
{
    const char *names[SETTING_COUNT + 32];
    static char flags[SETTING_COUNT][64];
    size_t count = 0;
    if (argument[0] != '-')
        return cmd_usage(command, "unexpected argument \"%s\"", argument);
    for (const char *const *own = own_options; own != NULL && *own != NULL && count < 32; own++)
        names[count++] = *own;
    for (int id = 0; id < SETTING_COUNT; id++) {
        if ((settings_row((enum setting_id)id)->scopes & setting_scope) == 0)
            continue;
        settings_flag_name((enum setting_id)id, flags[id], sizeof flags[id]);
        names[count++] = flags[id];
    }
    char *word = mem_string_n(argument, strcspn(argument, "="));
    const char *nearest = text_nearest(word, names, count);
    int code = nearest != NULL
                   ? cmd_usage(command, "unknown option %s: did you mean %s?", word, nearest)
                   : cmd_usage(command, "unknown option %s", word);
    free(word);
    return code;
}

bool cmd_wants_help(int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            return true;
    return false;
}

int cmd_option(int argc, char **argv, int *i, const char *name, const char **ret_value,
               struct rota_error *error)
{
    const char *argument = argv[*i];
    size_t length = strlen(name);
    if (strncmp(argument, name, length) != 0)
        return 0;
    if (argument[length] == '=' && name[1] == '-') {
        *ret_value = argument + length + 1;
        return 1;
    }
    if (argument[length] != '\0')
        return 0;
    if (*i + 1 >= argc)
        return error_set(error, ERROR_USAGE, "%s needs a value", name);
    *ret_value = argv[++*i];
    return 1;
}
