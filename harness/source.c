/* source.c: see source.h. */
#include "harness/source.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "harness/build_info.h"
#include "loops/check.h"

const char *source_directory(void) {
    const char *candidates[] = {getenv("LOOPMARK_SOURCE"), LOOPMARK_SOURCE_DIR};
    for (size_t i = 0; i < ARRAY_LENGTH(candidates); i++) {
        char path[4096];
        if (!candidates[i])
            continue;
        snprintf(path, sizeof path, "%s/harness/experiments", candidates[i]);
        if (access(path, R_OK) == 0)
            return candidates[i];
    }
    return ".";
}
