/* Any bytes as an experiment file, as a knob's value, as a rule and as an override: refused with
 * words, or taken and then consistent; never a crash. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "harness/experiment.h"
#include "harness/load_knobs.h"
#include "loops/check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fuzz_experiment(const char *text) {
    struct experiment *experiment = NULL;
    struct error error = {""};
    if (experiment_parse_text("fuzz.ini", text, &experiment, &error) != 0) {
        CHECK(strncmp(error.text, "fuzz.ini:", strlen("fuzz.ini:")) == 0);
        return;
    }
    struct cell *cells;
    CHECK(experiment_cells(experiment, &cells) > 0);
    CHECK(experiment_duration_ns(experiment, false) >= 0);
    free(cells);
    experiment_free(experiment);
}

static void fuzz_knobs(const char *text) {
    for (size_t i = 0; i < load_knobs.count; i++) {
        const struct knob *knob = &load_knobs.knobs[i];
        char plain[KNOB_TEXT_BYTES];
        double value, back;
        if (knob_parse(knob, text, &value, NULL) != 0)
            continue;
        CHECK(value >= knob->least && value <= knob->most);
        knob_format_plain(knob, value, plain);
        CHECK(knob_parse(knob, plain, &back, NULL) == 0);
        CHECK(knob->type == KNOB_RATE || back == value);
    }
}

static void fuzz_override(const char *text) {
    static const char plan[] = "[experiment]\nquestion = q\nworkload = echo\nserver = epoll\n"
                               "measure = capacity\nvary.connections = 1, 2\n";
    struct experiment *experiment;
    struct error error;
    CHECK(experiment_parse_text("plan.ini", plan, &experiment, NULL) == 0);
    if (experiment_override(experiment, text, &error) == 0)
        experiment_check(experiment, &error);
    experiment_free(experiment);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char *text = malloc(size + 1);
    CHECK(text);
    if (size > 0)
        memcpy(text, data, size);
    text[size] = '\0';
    struct claim_rule rule;
    struct error error;
    claim_parse(text, &rule, &error);
    fuzz_experiment(text);
    fuzz_knobs(text);
    fuzz_override(text);
    free(text);
    return 0;
}
