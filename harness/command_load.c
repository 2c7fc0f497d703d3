/* command_load.c: `loopmark load`, a load on any server that speaks a known protocol. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "harness/command.h"
#include "harness/file.h"
#include "harness/interrupt.h"
#include "harness/keep_awake.h"
#include "harness/latency_log.h"
#include "harness/load_options.h"
#include "harness/load_print.h"
#include "harness/load_search_run.h"
#include "harness/load_step.h"
#include "harness/load_sweep_run.h"
#include "harness/percentile_table.h"
#include "harness/record.h"

struct load_command {
    struct load_options options;
    struct latency_log log;
    struct keep_awake awake;
    struct slo_judgement judgements[SLOS_MOST];
};

/* ---- while it runs --------------------------------------------------------------------------- */

static void wait_for_end(struct load *load, const struct load_options *options) {
    struct progress progress;
    progress_begin(&progress, options->quiet);
    interrupt_catch();
    load_step_watch(load, &options->plan, &progress);
    progress_end(&progress);
}

/* ---- afterwards ------------------------------------------------------------------------------ */

static int write_hgrm(FILE *file, void *data) {
    return percentile_table_write(data, file, PERCENTILE_TABLE_HGRM, PERCENTILE_TABLE_TICKS, 1e6);
}

static json_t *slo_records(const struct load_command *command) {
    json_t *list = json_array();
    for (size_t i = 0; i < command->options.slo_count; i++) {
        const struct slo_judgement *judgement = &command->judgements[i];
        json_t *object = json_pack("{s:s, s:s}", "slo", command->options.slos[i].text, "verdict",
                                   slo_verdict_names[judgement->verdict]);
        json_object_set_new(object, "interval_ns",
                            judgement->known ? json_pack("[I,I]", (json_int_t)judgement->low_ns,
                                                         (json_int_t)judgement->high_ns)
                                             : json_null());
        json_array_append_new(list, object);
    }
    return list;
}

static void print_json(const struct load_command *command, const struct load_result *result,
                       const struct validity *validity) {
    json_t *record = record_load(&command->options.plan, result, validity);
    json_object_set_new(record, "url", json_string(command->options.url_text));
    json_object_set_new(record, "slo", slo_records(command));
    json_dumpf(record, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
    printf("\n");
    json_decref(record);
}

static int write_results(const struct load_command *command, const struct load_result *result,
                         const struct validity *validity, struct error *error) {
    const struct load_options *options = &command->options;
    if (options->json)
        print_json(command, result, validity);
    else
        load_print_result(options, result, validity, command->judgements);
    return options->hgrm_path ? file_write_whole(options->hgrm_path, write_hgrm,
                                                 (void *)load_latency(result), error)
                              : 0;
}

static bool has_verdict(const struct load_command *command, enum slo_verdict verdict) {
    for (size_t i = 0; i < command->options.slo_count; i++)
        if (command->judgements[i].verdict == verdict)
            return true;
    return false;
}

/* A gate says something only of what was measured well. */
static int exit_code(const struct load_command *command, const struct load_result *result,
                     const struct validity *validity) {
    if (result->interrupted)
        return EXIT_INTERRUPTED;
    if (!validity->valid)
        return EXIT_NOT_VALID;
    if (has_verdict(command, SLO_BROKEN))
        return EXIT_GATE;
    if (!has_verdict(command, SLO_UNDECIDED))
        return EXIT_OK;
    fprintf(stderr, "loopmark load: %s: a gate could not be decided; measure longer\n",
            command->options.strict ? "error" : "warning");
    return command->options.strict ? EXIT_CANNOT_TELL : EXIT_OK;
}

/* ---- the log, written while it runs ---------------------------------------------------------- */

static bool writes_to_stdout(const char *path) {
    struct stat file, output;
    return strcmp(path, "-") == 0 ||
           (stat(path, &file) == 0 && fstat(STDOUT_FILENO, &output) == 0 && S_ISREG(file.st_mode) &&
            file.st_dev == output.st_dev && file.st_ino == output.st_ino);
}

static int open_log(struct load_command *command, struct error *error) {
    const char *path = command->options.hlog_path;
    if (!path)
        return 0;
    if (writes_to_stdout(path))
        return error_set(error, -EINVAL, "--hlog %s: results go there; give a file", path);
    signal(SIGPIPE, SIG_IGN); /* a reader that goes away must not end the measurement */
    command->log = latency_log_begin();
    command->log.stream = fopen(path, "we");
    if (!command->log.stream)
        return error_set(error, -errno, "%s: cannot create: %s", path, strerror(errno));
    command->log.failure = latency_log_write_head(&command->log, command->log.stream);
    command->options.plan.on_interval = latency_log_interval;
    command->options.plan.on_interval_data = &command->log;
    return 0;
}

static int close_log(struct load_command *command, struct error *error) {
    struct latency_log *log = &command->log;
    if (!log->stream)
        return 0;
    int failure = log->failure;
    if (fclose(log->stream) && !failure)
        failure = -errno;
    log->stream = NULL;
    return failure ? error_set(error, failure, "%s: cannot write: %s", command->options.hlog_path,
                               strerror(-failure))
                   : 0;
}

/* ---- all ------------------------------------------------------------------------------------- */

static int report(struct load_command *command, const struct load_result *result,
                  struct error *error) {
    struct validity validity;
    validity_judge(result, &command->options.plan, 0, false, &validity);
    for (size_t i = 0; i < command->options.slo_count; i++)
        command->judgements[i] = slo_judge(&command->options.slos[i], result);
    return write_results(command, result, &validity, error) ? EXIT_FAILED
                                                            : exit_code(command, result, &validity);
}

static int measure(struct load_command *command, struct error *error) {
    struct load *load;
    int code;
    if (load_start(&command->options.plan, &load, error))
        return EXIT_FAILED;
    wait_for_end(load, &command->options);
    const struct load_result *result = load_result(load);
    if (result->finished)
        code = report(command, result, error);
    else {
        *error = result->failure;
        code = interrupted ? EXIT_INTERRUPTED : EXIT_FAILED;
    }
    load_free(load);
    return code;
}

static int log_and_measure(struct load_command *command, struct error *error) {
    int failure = open_log(command, error);
    if (failure)
        return failure == -EINVAL ? EXIT_USAGE : EXIT_FAILED;
    int code = measure(command, error);
    if (close_log(command, error->text[0] ? NULL : error) && code != EXIT_INTERRUPTED)
        code = EXIT_FAILED;
    return code;
}

static int run_as_asked(struct load_command *command, struct error *error) {
    return command->options.find_max ? load_search_run(&command->options, error)
           : command->options.sweeps ? load_sweep_run(&command->options, error)
                                     : log_and_measure(command, error);
}

static int run_awake(struct load_command *command, struct error *error) {
    int failure = keep_awake_start(&command->awake, &command->options.plan.kept_awake, error);
    if (failure)
        return failure == -EINVAL ? EXIT_USAGE : EXIT_FAILED; /* there is no such CPU */
    int code = run_as_asked(command, error);
    keep_awake_stop(&command->awake);
    return code;
}

static int run(int argc, char **argv, struct error *error) {
    struct load_command *command = calloc(1, sizeof *command);
    if (!command) {
        error_set(error, -ENOMEM, "out of memory");
        return EXIT_FAILED;
    }
    int code = load_options_read(&command->options, argc, argv, error)
                   ? EXIT_USAGE
                   : run_awake(command, error);
    load_options_free(&command->options);
    free(command);
    return code;
}

const struct command command_load = {.name = "load",
                                     .summary = "load a server and report its latency honestly",
                                     .help = load_options_help,
                                     .run = run};
