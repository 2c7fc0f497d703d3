/* load_options.h: the command line of `loopmark load`, read and checked. */
#ifndef LOOPMARK_LOAD_OPTIONS_H
#define LOOPMARK_LOAD_OPTIONS_H

#include "harness/load.h"
#include "harness/load_sweep.h"
#include "harness/slo.h"
#include "workloads/request_set.h"

enum { SLOS_MOST = 16, SOURCES_MOST = 64, HEADERS_MOST = 64 };

struct load_options {
    struct load_plan plan;
    struct url url;
    const char *url_text, *hgrm_path, *hlog_path;
    bool json, quiet, strict;
    struct slo slos[SLOS_MOST];
    size_t slo_count;
    bool find_max; /* a search instead of one load */
    struct slo objective;
    double precision; /* 0.05; 0: not given */
    bool sweeps;      /* a sweep instead of one load */
    struct sweep_plan sweep;
    const char *plot_path;

    struct endpoint sources[SOURCES_MOST];
    const char *headers[HEADERS_MOST]; /* of http */
    struct request_options http;
    struct tls_client_options tls;
    struct request_set *request_set; /* or null */
};

extern const char load_options_help[];

/* Pointers in `options` go into `argv` and into `options` itself, which is not to be moved.
 * -EINVAL: `error` says what is wrong, or is empty when getopt has said it. */
int load_options_read(struct load_options *options, int argc, char **argv, struct error *error);
void load_options_free(struct load_options *options);

#endif
