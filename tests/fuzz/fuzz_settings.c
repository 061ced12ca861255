/* Settings files: any bytes as the file of --config; every refusal says what is wrong. */
#include "cmd/settings.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rota_error error = {0};
    char path[40], *arguments[] = {(char *)"node", (char *)"--config", path};
    int file = memfd_create("settings", MFD_CLOEXEC), at = 1;
    CHECK(file >= 0 && write(file, data, size) == (ssize_t)size);
    snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    struct settings *settings = settings_new(SCOPE_NODE);
    CHECK(settings_take_flag(settings, 3, arguments, &at, &error) == 1);
    if (settings_load(settings, &error) != 0)
        CHECK(error.message[0] != '\0');
    else
        CHECK(settings_text(settings, SETTING_SCHEMA) != NULL);
    settings_free(settings);
    close(file);
    return 0;
}
