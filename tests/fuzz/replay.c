/* replay.c: feeds a fuzzing program its committed corpus, once each: what a fuzzer found stays
 * found, on machines without one too. fuzz_NAME reads tests/fuzz/corpus/NAME. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "loops/check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void replay(const char *path) {
    FILE *file = fopen(path, "rb");
    CHECK(file);
    CHECK(fseek(file, 0, SEEK_END) == 0);
    size_t size = (size_t)ftell(file);
    uint8_t *bytes = malloc(size + 1);
    CHECK(bytes);
    rewind(file);
    CHECK(fread(bytes, 1, size, file) == size);
    fclose(file);
    LLVMFuzzerTestOneInput(bytes, size);
    free(bytes);
}

int main(int argc, char **argv) {
    const char *source = getenv("LOOPMARK_SOURCE");
    const char *name = strstr(argv[0], "fuzz_");
    char folder[1024], path[2048];
    CHECK(argc == 1 && name);
    snprintf(folder, sizeof folder, "%s/tests/fuzz/corpus/%s", source ? source : ".",
             name + strlen("fuzz_"));
    DIR *corpus = opendir(folder);
    if (!corpus) {
        printf("not ok corpus: there is no %s\n", folder);
        return 1;
    }
    for (struct dirent *entry; (entry = readdir(corpus));) {
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        if (entry->d_name[0] == '.')
            continue;
        printf("%s\n", entry->d_name); /* the last one before a crash */
        fflush(stdout);
        replay(path);
    }
    closedir(corpus);
    printf("ok corpus\n");
    return 0;
}
