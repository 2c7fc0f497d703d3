/* load_options.c: see load_options.h. */
#include "harness/load_options.h"

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "harness/command.h"
#include "harness/environment.h"
#include "harness/load_knobs.h"
#include "harness/load_search_run.h"

#define PRECISION_DEFAULT 0.05
#define STEP_DEFAULT_NS (3.0 * NS_PER_S)
enum { PRECISION_LEAST = 1, PRECISION_MOST = 50 }; /* per cent */

const char load_options_help[] =
    "usage: loopmark load URL [OPTIONS]\n"
    "\n"
    "  URL                 http[s]://HOST[:PORT][/PATH], or of an echo server tcp://HOST:PORT;\n"
    "                      on unix sockets http[s]://unix:SOCKET:/PATH and unix:SOCKET; or of a\n"
    "                      database postgresql://[USER@]HOST[:PORT]/NAME or sqlite:FILE\n"
    "\n"
    "how much:\n"
    "  -c, --connections N connections that ask (100)\n"
    "  -t, --threads N     threads of the generator (1)\n"
    "  -d, --duration T    measure for this long: 10s, 500ms, 2min (10s)\n"
    "  -n, --requests N    measure this many requests instead\n"
    "      --warmup T      load before measuring (500ms)\n"
    "      --pipeline N    most unanswered requests of one connection (1)\n"
    "      --keep-alive K  on; off: a new connection for every request; N: after every N (on)\n"
    "\n"
    "open loop: requests are due by the clock, whatever the server does, and latency counts from\n"
    "when each was due. Without it: closed loop, each answer starts the next request\n"
    "      --rate R        requests per second\n"
    "      --ramp R:R      from one rate to another, within the duration\n"
    "      --arrivals A    constant or poisson\n"
    "      --deadline T    give up requests that were not sent this long after they were due\n"
    "\n"
    "several open loops, each -d long (3s; low rates longer, for the samples) after its warm-up:\n"
    "      --find-max P<T  the highest rate at which e.g. 'p99<5ms' holds: the whole interval\n"
    "                      around the quantile is under it, and the rate is sustained. Twice the\n"
    "                      rate each time from --rate on (else from a low one), then bisection,\n"
    "                      then both ends of the bracket again\n"
    "      --precision P   how close these ends are to be (5%)\n"
    "      --sweep R:R[:N] latency at N rates (12) from one to another, spaced geometrically, and\n"
    "                      the knee: the last rate before p99 stays over 3 times its level at low\n"
    "                      load, or is not sustained. It ends early after two such rates in a row\n"
    "      --plot FILE     the sweep as a figure: FILE.png or FILE.svg\n"
    "\n"
    "http:\n"
    "  -X, --method M      (GET; POST with a body)\n"
    "  -H, --header 'N: V' may be repeated\n"
    "      --body B        TEXT or @FILE\n"
    "      --mix FILE      several kinds of requests, one a line: WEIGHT METHOD PATH [BODY]\n"
    "      --status-errors S  answers that count as errors: 4xx (and 5xx), 5xx or none (4xx)\n"
    "      --cacert FILE   https: trust these certificates (PEM) instead of the system's\n"
    "      --insecure      https: take any certificate\n"
    "\n"
    "how:\n"
    "      --timeout T     longest wait for an answer; counts as at least that long (2s)\n"
    "      --connect-timeout T   longest wait for a connection (5s)\n"
    "      --ramp-connections T  open the connections over this time, before the warm-up\n"
    "      --source A[,A]  connect from these addresses in turn\n"
    "      --verify        check every byte of every answer (http: it is as the first one was)\n"
    "      --seed N        of poisson arrivals and random ids (1)\n"
    "      --pid PID       the server's process: its CPU time per request is reported too\n"
    "      --cpus LIST     run the generator on these CPUs, e.g. 1 or 2-3\n"
    "      --keep-awake LIST  keep these CPUs from sleeping, e.g. 0-1 (the server's, if it is\n"
    "                      here, and ours): on a virtual machine, waking up takes as long as\n"
    "                      its neighbours let it\n"
    "      --no-spin       sleep until a request is due (adds wake-up time to latencies)\n"
    "      --set K=V       any other knob: size_bytes, idle_connections, …\n"
    "                      (`loopmark list` has them all); may be repeated\n"
    "\n"
    "what comes out:\n"
    "      --slo P<T       a gate, e.g. 'p99<10ms': broken (exit code 3) when the whole interval\n"
    "                      around the quantile is over it; may be repeated\n"
    "      --strict        exit code 4 when a gate or search is not decided, else a warning\n"
    "      --json          one JSON object on stdout (results/README.md has its keys)\n"
    "      --hgrm FILE     response times as HdrHistogram percentile text, in ms\n"
    "      --hlog FILE     response times as HdrHistogram log, a line a second while it runs\n"
    "  -q, --quiet         no progress\n"
    "\n"
    "Of a database, rows of the table item (as `loopmark postgres` makes it) are asked for by\n"
    "random ids, and each answer has to have the id that was asked for. SQLite runs within the\n"
    "generator.\n"
    "\n"
    "Only the host you name is loaded, and only for the time you say.\n"
    "\n"
    "examples:\n"
    "  loopmark load http://127.0.0.1:8080/ -c 50 -d 10s\n"
    "  loopmark load http://127.0.0.1:8080/items -c 50 -d 30s --rate 20k --slo 'p99<10ms'\n"
    "  loopmark load http://127.0.0.1:8080/ -H 'Accept: text/html' --body @form.txt --json\n"
    "  loopmark load tcp://127.0.0.1:7000 --rate 5k --hlog run.hlog; loopmark hist run.hlog\n"
    "  loopmark load unix:/tmp/echo.sock -n 100k --set size_bytes=100KiB --json | jq .response_ns\n"
    "  loopmark load tcp://[::1]:7000 --set idle_connections=900 --pid $(pidof my-server)\n"
    "  loopmark load http://127.0.0.1:8080/ -c 50 --find-max 'p99<5ms' --json | jq .max_rate\n"
    "  loopmark load http://127.0.0.1:8080/ -c 50 --sweep 1k:100k --plot load.png\n"
    "  loopmark load 'postgresql:///shop?host=/run/postgresql' -c 20 --pipeline 8 --rate 10k\n"
    "\n"
    "exit codes: 0 ok, 1 the target or the tool failed, 2 usage, 3 a gate was broken (--find-max:\n"
    "            it holds at no rate), 4 a gate could not be decided (--strict), 5 measured but\n"
    "            not valid (whatever the gates say; --find-max: the generator or the machine is\n"
    "            the limit), 130 interrupted (what was measured until then is printed)\n";

/* Those without a letter. */
enum {
    OPTION_RATE = 256,
    OPTION_ARRIVALS,
    OPTION_WARMUP,
    OPTION_TIMEOUT,
    OPTION_PIPELINE,
    OPTION_DEADLINE,
    OPTION_CONNECT_TIMEOUT,
    OPTION_RAMP_CONNECTIONS,
    OPTION_STATUS_ERRORS,
    OPTION_KEEP_ALIVE,
    OPTION_RAMP,
    OPTION_BODY,
    OPTION_MIX,
    OPTION_SOURCE,
    OPTION_VERIFY,
    OPTION_SEED,
    OPTION_PID,
    OPTION_CPUS,
    OPTION_KEEP_AWAKE,
    OPTION_NO_SPIN,
    OPTION_SET,
    OPTION_SLO,
    OPTION_STRICT,
    OPTION_JSON,
    OPTION_HGRM,
    OPTION_HLOG,
    OPTION_CACERT,
    OPTION_INSECURE,
    OPTION_FIND_MAX,
    OPTION_PRECISION,
    OPTION_SWEEP,
    OPTION_PLOT,
};

/* Options that are short for a knob. */
static const struct {
    int option;
    const char *knob;
} knob_options[] = {
    {'c', "connections"},
    {'t', "threads"},
    {'d', "duration"},
    {OPTION_RATE, "rate"},
    {OPTION_ARRIVALS, "arrivals"},
    {OPTION_WARMUP, "warmup"},
    {OPTION_TIMEOUT, "timeout"},
    {OPTION_PIPELINE, "in_flight"},
    {OPTION_DEADLINE, "deadline"},
    {OPTION_CONNECT_TIMEOUT, "connect_timeout"},
    {OPTION_RAMP_CONNECTIONS, "connection_ramp"},
    {OPTION_STATUS_ERRORS, "status_errors"},
};

static const struct option long_options[] = {
    {"connections", required_argument, NULL, 'c'},
    {"threads", required_argument, NULL, 't'},
    {"duration", required_argument, NULL, 'd'},
    {"rate", required_argument, NULL, OPTION_RATE},
    {"arrivals", required_argument, NULL, OPTION_ARRIVALS},
    {"warmup", required_argument, NULL, OPTION_WARMUP},
    {"timeout", required_argument, NULL, OPTION_TIMEOUT},
    {"pipeline", required_argument, NULL, OPTION_PIPELINE},
    {"deadline", required_argument, NULL, OPTION_DEADLINE},
    {"connect-timeout", required_argument, NULL, OPTION_CONNECT_TIMEOUT},
    {"ramp-connections", required_argument, NULL, OPTION_RAMP_CONNECTIONS},
    {"status-errors", required_argument, NULL, OPTION_STATUS_ERRORS},
    {"requests", required_argument, NULL, 'n'},
    {"keep-alive", required_argument, NULL, OPTION_KEEP_ALIVE},
    {"ramp", required_argument, NULL, OPTION_RAMP},
    {"method", required_argument, NULL, 'X'},
    {"header", required_argument, NULL, 'H'},
    {"body", required_argument, NULL, OPTION_BODY},
    {"mix", required_argument, NULL, OPTION_MIX},
    {"source", required_argument, NULL, OPTION_SOURCE},
    {"verify", no_argument, NULL, OPTION_VERIFY},
    {"seed", required_argument, NULL, OPTION_SEED},
    {"pid", required_argument, NULL, OPTION_PID},
    {"cpus", required_argument, NULL, OPTION_CPUS},
    {"keep-awake", required_argument, NULL, OPTION_KEEP_AWAKE},
    {"no-spin", no_argument, NULL, OPTION_NO_SPIN},
    {"set", required_argument, NULL, OPTION_SET},
    {"slo", required_argument, NULL, OPTION_SLO},
    {"strict", no_argument, NULL, OPTION_STRICT},
    {"json", no_argument, NULL, OPTION_JSON},
    {"hgrm", required_argument, NULL, OPTION_HGRM},
    {"hlog", required_argument, NULL, OPTION_HLOG},
    {"cacert", required_argument, NULL, OPTION_CACERT},
    {"insecure", no_argument, NULL, OPTION_INSECURE},
    {"find-max", required_argument, NULL, OPTION_FIND_MAX},
    {"precision", required_argument, NULL, OPTION_PRECISION},
    {"sweep", required_argument, NULL, OPTION_SWEEP},
    {"plot", required_argument, NULL, OPTION_PLOT},
    {"quiet", no_argument, NULL, 'q'},
    {NULL, 0, NULL, 0},
};
static const char short_options[] = "c:t:d:n:X:H:q";

/* ---- values of more than a word -------------------------------------------------------------- */

static int parse_count(const char *text, const char *option, double most, uint64_t *count,
                       struct error *error) {
    double value;
    if (command_parse_number(option, KNOB_COUNT, 1, most, text, &value, error))
        return -EINVAL;
    *count = (uint64_t)value;
    return 0;
}

static int take_keep_alive(struct load_plan *plan, const char *text, struct error *error) {
    uint64_t count = strcmp(text, "off") == 0;
    bool word = count > 0 || strcmp(text, "on") == 0;
    if (!word && parse_count(text, "--keep-alive", 1e9, &count, NULL))
        return error_set(error, -EINVAL,
                         "--keep-alive '%s' is neither on, nor off, nor a number of requests",
                         text);
    knob_set_number(&plan->knobs, "requests_per_connection", (double)count);
    return 0;
}

/* FROM:TO, both over 0. */
static int take_ramp(struct load_plan *plan, const char *text, struct error *error) {
    char from[64];
    struct error why = {"rates over 0 are needed"};
    const char *colon = strchr(text, ':');
    size_t length = colon ? (size_t)(colon - text) : 0;
    if (length == 0 || length >= sizeof from)
        return error_set(error, -EINVAL, "--ramp '%s' does not look like 1k:20k", text);
    snprintf(from, sizeof from, "%.*s", (int)length, text);
    if (knob_set(&plan->knobs, "rate", from, &why) ||
        knob_set(&plan->knobs, "end_rate", colon + 1, &why) ||
        knob_get(&plan->knobs, "rate") <= 0 || knob_get(&plan->knobs, "end_rate") <= 0)
        return error_set(error, -EINVAL, "--ramp '%s': %s", text, why.text);
    return 0;
}

static int add_source(struct load_options *options, const char *host, struct error *error) {
    struct load_plan *plan = &options->plan;
    char address[ENDPOINT_TEXT_BYTES];
    bool ip6 = strchr(host, ':') && *host != '[';
    if (plan->source_count == SOURCES_MOST)
        return error_set(error, -EINVAL, "--source takes at most %d addresses", SOURCES_MOST);
    if (strlen(host) + strlen("[]:0") >= sizeof address)
        return error_set(error, -EINVAL, "--source '%s' is no address", host);
    snprintf(address, sizeof address, ip6 ? "[%s]:0" : "%s:0", host);
    struct endpoint *source = &options->sources[plan->source_count];
    if (endpoint_parse(address, source, error))
        return -EINVAL;
    if (source->address.ss_family != plan->target.address.ss_family)
        return error_set(error, -EINVAL, "--source %s is not of the target's kind of addresses",
                         host);
    plan->sources = options->sources;
    plan->source_count++;
    return 0;
}

static int take_sources(struct load_options *options, const char *text, struct error *error) {
    while (*text) {
        char host[ENDPOINT_TEXT_BYTES];
        size_t length = strcspn(text, ",");
        if (length == 0 || length >= sizeof host)
            return error_set(error, -EINVAL, "--source has an address that is %s",
                             length ? "too long" : "empty");
        snprintf(host, sizeof host, "%.*s", (int)length, text);
        if (add_source(options, host, error))
            return -EINVAL;
        text += length + (text[length] == ',');
    }
    return options->plan.source_count > 0 ? 0 : error_set(error, -EINVAL, "--source is empty");
}

static int take_header(struct load_options *options, const char *text, struct error *error) {
    if (options->http.header_count == HEADERS_MOST)
        return error_set(error, -EINVAL, "more than %d headers", HEADERS_MOST);
    options->headers[options->http.header_count++] = text;
    options->http.headers = options->headers;
    return 0;
}

static int take_slo(struct load_options *options, const char *text, struct error *error) {
    if (options->slo_count == SLOS_MOST)
        return error_set(error, -EINVAL, "more than %d gates", SLOS_MOST);
    return slo_parse(text, &options->slos[options->slo_count++], error);
}

static int take_find_max(struct load_options *options, const char *text, struct error *error) {
    struct error why;
    if (options->find_max)
        return error_set(error, -EINVAL, "one --find-max only");
    options->find_max = true;
    if (slo_parse(text, &options->objective, &why) == 0)
        return 0;
    return error_set(error, -EINVAL, "--find-max%s", why.text + strlen("--slo"));
}

/* "5%" or "5". */
static int take_precision(struct load_options *options, const char *text, struct error *error) {
    char *end;
    double percent = strtod(text, &end);
    if (end == text || strcmp(end + (*end == '%'), "") != 0 ||
        !(percent >= PRECISION_LEAST && percent <= PRECISION_MOST))
        return error_set(error, -EINVAL,
                         "--precision '%s' does not look like 5%%: from %d to %d per cent", text,
                         PRECISION_LEAST, PRECISION_MOST);
    options->precision = percent / 100;
    return 0;
}

static bool is_writable(const char *path) {
    char folder[PATH_MAX];
    const char *slash = strrchr(path, '/');
    snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - path) + 1 : 1,
             slash ? path : ".");
    return access(folder, W_OK) == 0;
}

/* What could not be drawn after minutes of measuring is refused before. */
static int take_plot(struct load_options *options, const char *text, struct error *error) {
    const char *end = strrchr(text, '.');
    if (!end || (strcmp(end, ".png") != 0 && strcmp(end, ".svg") != 0))
        return error_set(error, -EINVAL, "--plot '%s' ends neither in .png nor in .svg", text);
    if (!is_writable(text))
        return error_set(error, -EINVAL, "--plot %s: its folder cannot be written to: %s", text,
                         strerror(errno));
    options->plot_path = text;
    return 0;
}

/* ---- options --------------------------------------------------------------------------------- */

static int take_knob(struct load_plan *plan, int option, const char *text, struct error *error) {
    for (size_t i = 0; i < ARRAY_LENGTH(knob_options); i++)
        if (knob_options[i].option == option)
            return knob_set(&plan->knobs, knob_options[i].knob, text, error);
    return -EINVAL;
}

/* Options without a value; false: it is none. */
static bool take_flag(struct load_options *options, int option) {
    bool *flag = option == OPTION_VERIFY     ? &options->plan.verify
                 : option == OPTION_NO_SPIN  ? &options->plan.no_spin
                 : option == OPTION_INSECURE ? &options->tls.insecure
                 : option == OPTION_STRICT   ? &options->strict
                 : option == OPTION_JSON     ? &options->json
                 : option == 'q'             ? &options->quiet
                                             : NULL;
    if (flag)
        *flag = true;
    return flag != NULL;
}

/* Options whose value is a text to keep; false: it is none. */
static bool take_text(struct load_options *options, int option, const char *text) {
    const char **kept = option == OPTION_HGRM     ? &options->hgrm_path
                        : option == OPTION_HLOG   ? &options->hlog_path
                        : option == OPTION_CACERT ? &options->tls.ca_file
                        : option == OPTION_BODY   ? &options->http.body
                        : option == OPTION_MIX    ? &options->http.file
                        : option == 'X'           ? &options->http.method
                                                  : NULL;
    if (kept)
        *kept = text;
    return kept != NULL;
}

static int take_pid(struct load_plan *plan, const char *text, struct error *error) {
    uint64_t number;
    if (parse_count(text, "--pid", 4194304, &number, error))
        return -EINVAL;
    plan->server_pid = (pid_t)number;
    return 0;
}

static int take_option(struct load_options *options, int option, const char *text,
                       struct error *error) {
    struct load_plan *plan = &options->plan;
    if (take_flag(options, option) || take_text(options, option, text))
        return 0;
    switch (option) {
    case 'n':
        return parse_count(text, "--requests", 4e9, &plan->requests, error);
    case 'H':
        return take_header(options, text, error);
    case OPTION_SEED:
        return parse_count(text, "--seed", 1e15, &plan->seed, error);
    case OPTION_PID:
        return take_pid(plan, text, error);
    case OPTION_SET:
        return knob_set_pair(&plan->knobs, text, error);
    case OPTION_CPUS:
        return cpu_list_parse(text, &plan->cpus, error);
    case OPTION_KEEP_AWAKE:
        return cpu_list_parse(text, &plan->kept_awake, error);
    case OPTION_KEEP_ALIVE:
        return take_keep_alive(plan, text, error);
    case OPTION_RAMP:
        return take_ramp(plan, text, error);
    case OPTION_SOURCE:
        return take_sources(options, text, error);
    case OPTION_SLO:
        return take_slo(options, text, error);
    case OPTION_FIND_MAX:
        return take_find_max(options, text, error);
    case OPTION_PRECISION:
        return take_precision(options, text, error);
    case OPTION_SWEEP:
        options->sweeps = true;
        return sweep_parse(text, &options->sweep, error);
    case OPTION_PLOT:
        return take_plot(options, text, error);
    default:
        return take_knob(plan, option, text, error);
    }
}

/* The URL comes first in meaning, though it may stand anywhere: it decides which knobs there are.
 */
static int find_url(struct load_options *options, int argc, char **argv, struct error *error) {
    struct load_plan *plan = &options->plan;
    int option;
    while ((option = getopt_long(argc, argv, short_options, long_options, NULL)) != -1)
        if (option == '?')
            return -EINVAL; /* getopt has said what is wrong */
    if (optind >= argc)
        return error_set(error, -EINVAL,
                         "which server? give a URL such as http://127.0.0.1:8080/ or "
                         "tcp://127.0.0.1:7000");
    if (optind + 1 < argc)
        return error_set(error, -EINVAL, "one URL only, but there is also '%s'", argv[optind + 1]);
    options->url_text = argv[optind];
    plan->workload = workload_for_url(options->url_text, &options->url, error);
    plan->url = &options->url;
    plan->target = options->url.endpoint;
    return plan->workload ? 0 : -EINVAL;
}

/* ---- do they go together? -------------------------------------------------------------------- */

static void set_default_duration(struct load_plan *plan, double duration_ns) {
    size_t index = 0;
    CHECK(knob_find(&plan->knobs, "duration", &index));
    plan->knobs.values[index] = duration_ns; /* knob_set_number would call it given */
}

static bool given(const struct load_plan *plan, const char *knob) {
    size_t index = 0;
    CHECK(knob_find(&plan->knobs, knob, &index));
    return plan->knobs.given[index];
}

static bool has_steps(const struct load_options *options) {
    return options->find_max || options->sweeps;
}

/* What is of one load has no meaning for many. */
static int check_steps(const struct load_options *options, struct error *error) {
    const struct load_plan *plan = &options->plan;
    const char *mode = options->find_max ? "--find-max" : "--sweep";
    const char *of_one = plan->requests > 0                       ? "--requests"
                         : given(plan, "end_rate")                ? "--ramp"
                         : options->slo_count > 0                 ? "--slo"
                         : options->hgrm_path                     ? "--hgrm"
                         : options->hlog_path                     ? "--hlog"
                         : options->sweeps && given(plan, "rate") ? "--rate"
                                                                  : NULL;
    if (options->find_max && options->sweeps)
        return error_set(error, -EINVAL, "either --find-max or --sweep, not both");
    if (options->precision > 0 && !options->find_max)
        return error_set(error, -EINVAL, "--precision is of a search: it needs --find-max");
    if (options->plot_path && !options->sweeps)
        return error_set(error, -EINVAL, "--plot is of a sweep: it needs --sweep");
    if (has_steps(options) && of_one)
        return error_set(error, -EINVAL, "%s is of one load, and %s makes many", of_one, mode);
    return 0;
}

static int check_open_loop(const struct load_plan *plan, struct error *error) {
    static const struct {
        const char *knob, *option;
    } of_open_loop[] = {
        {"arrivals", "--arrivals"}, {"deadline", "--deadline"}, {"end_rate", "--ramp"}};
    for (size_t i = 0; i < ARRAY_LENGTH(of_open_loop); i++)
        if (given(plan, of_open_loop[i].knob) && knob_get(&plan->knobs, "rate") == 0)
            return error_set(error, -EINVAL, "%s is of an open loop: it needs --rate",
                             of_open_loop[i].option);
    if (knob_get(&plan->knobs, "end_rate") > 0 && plan->requests > 0)
        return error_set(error, -EINVAL, "--ramp goes on for a --duration, not for --requests");
    return 0;
}

static bool is_https(const struct load_options *options) {
    return strcmp(options->url.scheme, "https") == 0;
}

static bool is_http(const struct load_options *options) {
    return strcmp(options->url.scheme, "http") == 0 || is_https(options);
}

static int check_http(const struct load_options *options, struct error *error) {
    const struct request_options *http = &options->http;
    const char *option = http->method         ? "--method"
                         : http->body         ? "--body"
                         : http->file         ? "--mix"
                         : http->header_count ? "--header"
                                              : NULL;
    if (option && !is_http(options))
        return error_set(error, -EINVAL, "%s is of HTTP, but the URL is %s", option,
                         options->url_text);
    if (http->file && (http->method || http->body))
        return error_set(error, -EINVAL, "--mix has the methods and bodies: not %s as well",
                         http->method ? "--method" : "--body");
    return 0;
}

/* Files that cannot be read are found before anything runs. */
static int check_tls(const struct load_options *options, struct error *error) {
    struct tls_client_options tls_options = options->tls;
    struct tls *tls;
    const char *option = tls_options.ca_file    ? "--cacert"
                         : tls_options.insecure ? "--insecure"
                                                : NULL;
    if (!is_https(options))
        return option ? error_set(error, -EINVAL, "%s is of https, but the URL is %s", option,
                                  options->url_text)
                      : 0;
    if (tls_options.ca_file && tls_options.insecure)
        return error_set(error, -EINVAL, "either --cacert or --insecure, not both");
    tls_options.host = options->url.name;
    int failure = tls_client_open(&tls_options, &tls, error);
    if (failure == 0)
        tls_close(tls);
    return failure;
}

/* A database's driver opens its own sockets. */
static int check_database(const struct load_options *options, struct error *error) {
    static const char *const of_sockets[] = {"transport", "source_addresses", "resolve"};
    for (size_t i = 0; options->url.is_database && i < ARRAY_LENGTH(of_sockets); i++)
        if (given(&options->plan, of_sockets[i]))
            return error_set(error, -EINVAL, "%s has no meaning for a database", of_sockets[i]);
    return 0;
}

/* Only a name can be looked up. */
static int check_resolve(const struct load_options *options, struct error *error) {
    struct in6_addr address;
    const char *name = options->url.name;
    if (knob_get(&options->plan.knobs, "resolve") == RESOLVE_ONCE)
        return 0;
    if (endpoint_is_unix(&options->plan.target))
        return error_set(error, -EINVAL, "resolve=connection: a unix socket has no host name");
    if (inet_pton(AF_INET, name, &address) == 1 || inet_pton(AF_INET6, name, &address) == 1)
        return error_set(error, -EINVAL,
                         "resolve=connection: %s is an address already; name the host, like "
                         "localhost",
                         name);
    return 0;
}

/* What was given is never silently left out. */
static int check_meaning(const struct load_options *options, struct error *error) {
    const struct load_plan *plan = &options->plan;
    if (check_steps(options, error) || (!has_steps(options) && check_open_loop(plan, error)) ||
        check_http(options, error) || check_tls(options, error) ||
        check_database(options, error) || check_resolve(options, error))
        return -EINVAL;
    if (given(plan, "duration") && plan->requests > 0)
        return error_set(error, -EINVAL, "either --duration or --requests, not both");
    if (plan->source_count > 0 && given(plan, "source_addresses"))
        return error_set(error, -EINVAL, "either --source or source_addresses, not both");
    if (options->strict && options->slo_count == 0 && !options->find_max)
        return error_set(error, -EINVAL, "--strict is about gates: it needs --slo or --find-max");
    bool unix_socket = endpoint_is_unix(&plan->target);
    if (given(plan, "transport") &&
        (knob_get(&plan->knobs, "transport") == TRANSPORT_UNIX) != unix_socket)
        return error_set(error, -EINVAL, "transport: the URL is of a %s, and it is what counts",
                         unix_socket ? "unix socket" : "TCP port");
    return 0;
}

/* A gate that can never be decided is refused before anything is measured. */
static int check_slos(const struct load_options *options, struct error *error) {
    const struct load_plan *plan = &options->plan;
    double rate = knob_get(&plan->knobs, "rate"), end_rate = knob_get(&plan->knobs, "end_rate");
    double mean_rate = end_rate > 0 ? (rate + end_rate) / 2 : rate;
    double requests = plan->requests > 0 ? (double)plan->requests
                                         : mean_rate * knob_get(&plan->knobs, "duration") / 1e9;
    for (size_t i = 0; i < options->slo_count; i++) {
        uint64_t least = slo_least_requests(&options->slos[i]);
        if (requests > 0 && requests < (double)least)
            return error_set(error, -EINVAL,
                             "--slo %s needs at least %llu requests, and these are %.0f",
                             options->slos[i].text, (unsigned long long)least, requests);
    }
    return 0;
}

/* Nor a search whose first step cannot be. */
static int check_search(const struct load_options *options, struct error *error) {
    if (!options->find_max)
        return 0;
    struct search_plan plan = load_search_plan_of(options);
    uint64_t least = slo_least_requests(&options->objective);
    double requests = plan.start * load_search_step_ns(&plan, plan.start) / 1e9;
    if (requests >= (double)least)
        return 0;
    return error_set(error, -EINVAL,
                     "--find-max %s needs at least %llu requests a step, and these are %.0f: a "
                     "higher --rate or longer -d",
                     options->objective.text, (unsigned long long)least, requests);
}

static int check_plan(const struct load_options *options, struct error *error) {
    const struct load_plan *plan = &options->plan;
    double threads = knob_get(&plan->knobs, "threads");
    if (threads > knob_get(&plan->knobs, "connections"))
        return error_set(error, -EINVAL, "%.0f threads need at least as many connections", threads);
    if (plan->requests > 0 && (double)plan->requests < threads)
        return error_set(error, -EINVAL, "%.0f threads need at least as many requests", threads);
    if (plan->server_pid > 0 && kill(plan->server_pid, 0) && errno == ESRCH)
        return error_set(error, -EINVAL, "there is no process %d", (int)plan->server_pid);
    return check_slos(options, error) || check_search(options, error) ? -EINVAL : 0;
}

static void set_defaults_of_steps(struct load_options *options) {
    if (has_steps(options) && !given(&options->plan, "duration"))
        set_default_duration(&options->plan, STEP_DEFAULT_NS);
    if (options->find_max && options->precision == 0)
        options->precision = PRECISION_DEFAULT;
}

/* ---- all ------------------------------------------------------------------------------------- */

static int make_requests(struct load_options *options, struct error *error) {
    if (!is_http(options))
        return 0;
    int failure = request_set_open(&options->http, &options->url, &options->request_set, error);
    options->plan.request_set = options->request_set;
    return failure;
}

int load_options_read(struct load_options *options, int argc, char **argv, struct error *error) {
    int option;
    *options = (struct load_options){.plan = {.seed = 1, .control_fd = -1}};
    struct load_plan *plan = &options->plan;
    if (find_url(options, argc, argv, error))
        return -EINVAL;
    plan->tls = &options->tls;
    knob_values_init(&plan->knobs, plan->workload->knobs, load_knobs);
    set_default_duration(plan, 10.0 * NS_PER_S);
    optind = 0;
    while ((option = getopt_long(argc, argv, short_options, long_options, NULL)) != -1)
        if (option == '?' || take_option(options, option, optarg, error))
            return -EINVAL;
    if (check_meaning(options, error))
        return -EINVAL;
    set_defaults_of_steps(options);
    knob_set_number(&plan->knobs, "transport",
                    endpoint_is_unix(&plan->target) ? TRANSPORT_UNIX : TRANSPORT_TCP);
    int failure = check_plan(options, error);
    return failure ? failure : make_requests(options, error);
}

void load_options_free(struct load_options *options) {
    if (options->request_set)
        request_set_close(options->request_set);
    options->request_set = NULL;
}
