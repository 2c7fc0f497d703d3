/* source.c: see source.h. */
#include "harness/source.h"

#include <stdlib.h>
#include <unistd.h>

#include "harness/build_info.h"

const char *source_directory(void) {
    const char *given = getenv("LOOPMARK_SOURCE");
    if (given && *given)
        return given; /* also if there is nothing: what was given is never replaced in silence */
    return access(LOOPMARK_SOURCE_DIR "/harness/experiments", R_OK) == 0 ? LOOPMARK_SOURCE_DIR
                                                                         : ".";
}
