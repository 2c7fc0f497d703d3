/* echo.c: many connections to the echo workload, for as long as somebody has patience: no byte may
 * come back wrong, lost or doubled, and no connection may be forgotten.
 *
 * A server thread runs the workload's server half on the loop to be tested, with as few requests
 * and receive buffers as to be always short of both. A client thread, on epoll, keeps every
 * connection owed something all the time. What it sends depends on the number of the connection and
 * the offset in its stream, so that a buffer used for two things at a time shows. At random moments
 * it stops reading, sometimes sending on until the server cannot either, and it closes connections
 * in every way there is, to open new ones at once. A server may end none by itself.
 *
 * Progress: a connection that has been owed bytes for a second while it was read from is stuck. Its
 * second begins anew when the client itself was late, since then nothing is known about the server;
 * the seconds in which that happened are told. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "harness/interrupt.h"
#include "harness/limits.h"
#include "harness/random.h"
#include "harness/units.h"
#include "workloads/workload.h"

enum {
    QUEUE_ENTRIES = 8,
    MESSAGE_MOST = 64 << 10,
    FLOOD_BYTES = 16 << 20, /* more than all socket buffers on the way and back */
    FLOODS_MOST = 8,        /* at a time: they take memory of the kernel */
    FLOOD_RECEIVE_BYTES = 64 << 10,
    PATTERN_PERIOD = 1048573, /* a prime */
    PATTERN_STEP = 611953,    /* between connections */
    STUCK_NAMED = 5,
    STOP_TIMEOUT_S = 20
};
#define PAUSE_NS (300 * NS_PER_MS)
#define PROBE_NS (50 * NS_PER_MS)
#define LATE_NS (200 * NS_PER_MS)
#define STUCK_NS NS_PER_S

struct options {
    const char *loop, *listen;
    double seconds;
    uint64_t seed;
    size_t connections; /* at a time */
};

/* ---- the server's thread --------------------------------------------------------------------- */

struct service {
    const struct workload_server *echo;
    struct loop *loop; /* freed on the thread that ran it */
    struct server *server;
    pthread_t thread;
    sem_t stopped; /* nobody else uses the loop from then on */
    int failure;
    struct loop_counters counters; /* of the end */
};

static void *serve(void *data) {
    struct service *service = data;
    service->failure = loop_run(service->loop);
    while (sem_wait(&service->stopped) == -1)
        ;
    service->echo->stop(service->server);
    service->counters = *loop_counters(service->loop);
    loop_free(service->loop); /* with all that is under way */
    return NULL;
}

static int service_start(struct service *service, const struct options *options, uint32_t buffers,
                         struct endpoint *bound, struct error *error) {
    const struct workload *echo = workload_find("echo", error);
    const struct loop_config config = {.queue_entries = QUEUE_ENTRIES, .receive_buffers = buffers};
    struct knob_values knobs;
    struct endpoint listen;
    CHECK(echo);
    *service = (struct service){.echo = echo->server};
    knob_values_init(&knobs, echo->knobs, (struct knob_table){NULL, 0});
    int failure = endpoint_parse(options->listen, &listen, error);
    if (!failure)
        failure = loop_open(options->loop, &config, &service->loop, error);
    if (failure)
        return failure;
    failure = service->echo->start(service->loop, &knobs, &listen, bound, &service->server, error);
    if (failure) {
        loop_free(service->loop);
        return failure;
    }
    CHECK(sem_init(&service->stopped, 0, 0) == 0);
    /* Signals are for the thread that looks at them. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    CHECK(pthread_create(&service->thread, NULL, serve, service) == 0);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return 0;
}

/* False: it does not stop, and so its memory cannot be freed. */
static bool service_stop(struct service *service) {
    struct timespec until;
    loop_stop(service->loop);
    sem_post(&service->stopped);
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += STOP_TIMEOUT_S;
    return pthread_timedjoin_np(service->thread, NULL, &until) == 0;
}

/* ---- the client ------------------------------------------------------------------------------ */

enum ending { CLOSE, HALF_CLOSE, ABORT, ENDINGS };
enum phase { CONNECTING, ASKING, HALF_CLOSED, CLOSING };

struct client;

/* A place that is never empty for long: each time with another number. */
struct connection {
    struct client *client;
    struct stream *stream;
    struct timer timer; /* until it closes, stops reading or reads again */
    enum phase phase;
    bool pausing, flooding;
    uint64_t number;
    size_t window; /* it sends while less than so many bytes are owed */
    uint64_t sent, received;
    uint64_t waiting_since_ns; /* while not pausing */
};

struct tally {
    uint64_t bytes, messages, connections;
    uint64_t closes[ENDINGS]; /* each with bytes under way, since some always are */
    uint64_t pauses, floods, floods_full; /* full: the server could neither send nor read */
    uint64_t longest_wait_ns;
    unsigned seconds_judged, seconds_left_out;
};

struct client {
    struct loop *loop;
    struct endpoint target;
    struct random random;
    const uint8_t *pattern;
    struct connection *places;
    size_t count;
    size_t floods; /* at this moment */
    struct timer probe;
    uint64_t end_ns;
    uint64_t judged_from_ns, second_end_ns;
    bool second_was_late;
    bool ending;
    struct error failure; /* empty: none yet */
    struct tally tally;
};

#define FAIL(client, ...)                                                                          \
    do {                                                                                           \
        if (!(client)->failure.text[0])                                                            \
            error_set(&(client)->failure, 0, __VA_ARGS__);                                         \
        loop_stop((client)->loop);                                                                 \
    } while (0)

/* What connection `number` sends at `offset`: MESSAGE_MOST bytes can be read there. */
static const uint8_t *pattern_at(const struct client *client, uint64_t number, uint64_t offset) {
    return client->pattern + (number * PATTERN_STEP + offset) % PATTERN_PERIOD;
}

static uint8_t *new_pattern(struct random *random) {
    uint8_t *pattern = malloc(PATTERN_PERIOD + MESSAGE_MOST);
    CHECK(pattern);
    for (size_t i = 0; i < PATTERN_PERIOD; i++)
        pattern[i] = (uint8_t)random_next(random);
    memcpy(pattern + PATTERN_PERIOD, pattern, MESSAGE_MOST);
    return pattern;
}

/* Each power of two as often as the next: mostly small. */
static uint64_t random_magnitude(struct random *random, unsigned bits_most) {
    return 1 + random_below(random, UINT64_C(1) << random_below(random, bits_most + 1));
}

static bool one_in(struct random *random, uint64_t n) {
    return random_below(random, n) == 0;
}

static uint64_t owed_bytes(const struct connection *place) {
    return place->sent - place->received;
}

static void ask(struct connection *place) {
    struct client *client = place->client;
    uint64_t window = place->flooding ? FLOOD_BYTES : place->window;
    while (place->phase == ASKING && !stream_sending(place->stream) && owed_bytes(place) < window) {
        size_t n = place->flooding ? MESSAGE_MOST : random_magnitude(&client->random, 16);
        struct iovec part = {.iov_base = (void *)pattern_at(client, place->number, place->sent),
                             .iov_len = n};
        int result = stream_send(place->stream, &part, 1, NULL);
        if (result < 0) {
            FAIL(client, "connection %" PRIu64 " cannot send: %s", place->number,
                 strerror(-result));
            return;
        }
        place->sent += n;
        client->tally.messages++;
    }
}

/* Briefly after, or much later: from 1 ms to 8 s. */
static void plan(struct connection *place) {
    struct client *client = place->client;
    timer_set(client->loop, &place->timer,
              loop_now_ns(client->loop) + NS_PER_MS * random_magnitude(&client->random, 13));
}

static void begin_waiting(struct connection *place) {
    place->waiting_since_ns = loop_now_ns(place->client->loop);
}

/* ---- the client: what it does to a connection ------------------------------------------------ */

static void end_pause(struct connection *place) {
    struct client *client = place->client;
    if (place->flooding) {
        client->floods--;
        client->tally.floods_full += stream_sending(place->stream);
    }
    place->pausing = place->flooding = false;
}

static void end(struct connection *place, enum ending ending) {
    struct client *client = place->client;
    client->tally.closes[ending]++;
    if (ending == HALF_CLOSE) {
        place->phase = HALF_CLOSED;
        stream_shutdown(place->stream);
        return;
    }
    if (ending == ABORT) {
        struct linger linger = {.l_onoff = 1, .l_linger = 0};
        setsockopt(stream_fd(place->stream), SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
    }
    place->phase = CLOSING;
    stream_close(place->stream);
}

/* Some send on all the while: then the server's sends wait for us, and its receives for them. */
static void pause_reading(struct connection *place) {
    struct client *client = place->client;
    uint64_t length_ns = 1 + random_below(&client->random, PAUSE_NS);
    client->tally.pauses++;
    place->pausing = true;
    stream_pause(place->stream);
    if (client->floods < FLOODS_MOST && one_in(&client->random, 8)) {
        client->floods++;
        client->tally.floods++;
        place->flooding = true;
        length_ns = PAUSE_NS;
        int bytes = FLOOD_RECEIVE_BYTES;
        setsockopt(stream_fd(place->stream), SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
        ask(place);
    }
    timer_set(client->loop, &place->timer, loop_now_ns(client->loop) + length_ns);
}

static void act(struct timer *timer) {
    struct connection *place = CONTAINER_OF(timer, struct connection, timer);
    struct random *random = &place->client->random;
    if (place->pausing) {
        end_pause(place);
        if (one_in(random, 5)) {
            end(place, one_in(random, 2) ? CLOSE : ABORT);
            return;
        }
        begin_waiting(place);
        stream_resume(place->stream);
        plan(place);
    } else if (one_in(random, 2)) {
        pause_reading(place);
    } else {
        end(place, (enum ending)random_below(random, ENDINGS));
    }
}

/* ---- the client: what comes back ------------------------------------------------------------- */

static void opened(struct stream *stream, int err) {
    struct connection *place = stream_data(stream);
    if (err)
        return; /* `closed` comes */
    place->phase = ASKING;
    begin_waiting(place);
    plan(place);
    ask(place);
}

static void fail_wrong(struct connection *place, const uint8_t *bytes, const uint8_t *right,
                       size_t n) {
    size_t first = 0, wrong = 0;
    while (bytes[first] == right[first])
        first++;
    for (size_t i = 0; i < n; i++)
        wrong += bytes[i] != right[i];
    FAIL(place->client,
         "wrong bytes on connection %" PRIu64 ": the byte at %" PRIu64
         " is 0x%02x and not 0x%02x, as are %zu of the %zu that came with it",
         place->number, place->received + first, bytes[first], right[first], wrong, n);
}

static void note_wait(struct connection *place) {
    struct client *client = place->client;
    uint64_t since_ns = place->waiting_since_ns;
    if (since_ns < client->judged_from_ns)
        since_ns = client->judged_from_ns;
    uint64_t now_ns = loop_now_ns(client->loop);
    if (now_ns > since_ns && now_ns - since_ns > client->tally.longest_wait_ns)
        client->tally.longest_wait_ns = now_ns - since_ns;
    place->waiting_since_ns = now_ns;
}

static void answered(struct stream *stream, struct buffer *buffer, uint8_t *bytes, size_t n) {
    (void)buffer;
    struct connection *place = stream_data(stream);
    struct client *client = place->client;
    const uint8_t *right = pattern_at(client, place->number, place->received);
    if (n > owed_bytes(place)) {
        FAIL(client, "connection %" PRIu64 " got %zu bytes at %" PRIu64 ", but had sent %" PRIu64,
             place->number, n, place->received, place->sent);
    } else if (memcmp(bytes, right, n) != 0) {
        fail_wrong(place, bytes, right, n);
    } else {
        place->received += n;
        client->tally.bytes += n;
        note_wait(place);
        ask(place);
    }
}

static void sent(struct stream *stream, void *cookie, int err) {
    (void)cookie;
    if (err == 0)
        ask(stream_data(stream));
}

/* It ends only after we did, and with every byte. */
static void ended(struct stream *stream) {
    struct connection *place = stream_data(stream);
    if (place->phase != HALF_CLOSED || owed_bytes(place) > 0)
        FAIL(place->client, "connection %" PRIu64 " was ended with %" PRIu64 " bytes owed",
             place->number, owed_bytes(place));
    place->phase = CLOSING;
    stream_close(stream);
}

static void open_place(struct connection *place);

static void closed(struct stream *stream, int err) {
    struct connection *place = stream_data(stream);
    struct client *client = place->client;
    timer_cancel(client->loop, &place->timer);
    if (client->ending)
        return;
    if (err)
        FAIL(client, "connection %" PRIu64 " %s: %s", place->number,
             place->phase == CONNECTING ? "did not open" : "was broken", strerror(-err));
    else
        open_place(place);
}

static const struct stream_handler handler = {.on_open = opened,
                                              .on_data = answered,
                                              .on_sent = sent,
                                              .on_eof = ended,
                                              .on_close = closed};

static void open_place(struct connection *place) {
    struct client *client = place->client;
    *place = (struct connection){.client = client,
                                 .timer.on_due = act,
                                 .number = client->tally.connections++,
                                 .window = random_magnitude(&client->random, 16)};
    int failure =
        loop_connect(client->loop, &client->target, NULL, &handler, place, &place->stream);
    if (failure)
        FAIL(client, "cannot connect: %s", strerror(-failure));
}

/* ---- the client: is everyone getting on? ----------------------------------------------------- */

static bool is_stuck(const struct connection *place, uint64_t now_ns) {
    return (place->phase == ASKING || place->phase == HALF_CLOSED) && !place->pausing &&
           now_ns >= place->waiting_since_ns + STUCK_NS &&
           now_ns >= place->client->judged_from_ns + STUCK_NS;
}

static void look_for_stuck(struct client *client, uint64_t now_ns) {
    char names[256] = "";
    size_t stuck = 0;
    for (size_t i = 0; i < client->count; i++) {
        const struct connection *place = &client->places[i];
        if (!is_stuck(place, now_ns) || ++stuck > STUCK_NAMED)
            continue;
        size_t used = strlen(names);
        snprintf(names + used, sizeof names - used, "%s%" PRIu64 " (%" PRIu64 " bytes owed%s)",
                 used ? ", " : "", place->number, owed_bytes(place),
                 place->phase == HALF_CLOSED ? ", half closed" : "");
    }
    if (stuck > 0)
        FAIL(client, "%zu connections got nothing for a second: %s%s", stuck, names,
             stuck > STUCK_NAMED ? " …" : "");
}

static void probe(struct timer *timer) {
    struct client *client = CONTAINER_OF(timer, struct client, probe);
    uint64_t now_ns = loop_now_ns(client->loop);
    if (now_ns - timer->due_ns > LATE_NS) {
        client->judged_from_ns = now_ns;
        client->second_was_late = true;
    }
    for (; now_ns >= client->second_end_ns; client->second_end_ns += NS_PER_S) {
        if (client->second_was_late)
            client->tally.seconds_left_out++;
        else
            client->tally.seconds_judged++;
        client->second_was_late = false;
    }
    look_for_stuck(client, now_ns);
    if (now_ns >= client->end_ns || interrupted)
        loop_stop(client->loop);
    else
        timer_set(client->loop, timer, now_ns + PROBE_NS);
}

/* Until the time is over, a failure or a signal. */
static void client_run(struct client *client, double seconds) {
    uint64_t now_ns = clock_now_ns();
    for (size_t i = 0; i < client->count; i++) {
        client->places[i].client = client;
        open_place(&client->places[i]);
    }
    client->end_ns = now_ns + (uint64_t)(seconds * (double)NS_PER_S);
    client->second_end_ns = now_ns + NS_PER_S;
    client->probe.on_due = probe;
    timer_set(client->loop, &client->probe, now_ns + PROBE_NS);
    int failure = loop_run(client->loop);
    if (failure)
        FAIL(client, "the client's loop: %s", strerror(-failure));
}

static void client_free(struct client *client) {
    client->ending = true;
    loop_free(client->loop);
    free(client->places);
    free((void *)client->pattern);
}

/* ---- one round: a server, and a client for it ------------------------------------------------ */

static void print_tally(const struct tally *tally, const struct loop_counters *counters) {
    char bytes[UNITS_TEXT_BYTES], wait[UNITS_TEXT_BYTES];
    printf("    %s checked in %" PRIu64 " messages on %" PRIu64 " connections\n",
           units_bytes((double)tally->bytes, bytes), tally->messages, tally->connections);
    printf("    with bytes under way %" PRIu64 " closed, %" PRIu64 " half closed, %" PRIu64
           " aborted\n",
           tally->closes[CLOSE], tally->closes[HALF_CLOSE], tally->closes[ABORT]);
    printf("    %" PRIu64 " pauses; %" PRIu64 " sent on meanwhile, %" PRIu64
           " of them until the server stopped reading\n",
           tally->pauses, tally->floods, tally->floods_full);
    printf("    longest wait for a byte %s; %u s judged, %u s left out: the client was late\n",
           units_time((double)tally->longest_wait_ns, wait), tally->seconds_judged,
           tally->seconds_left_out);
    printf("    server: starved %" PRIu64 ", overflows %" PRIu64 ", buffers allocated %" PRIu64
           ", copied bytes %" PRIu64 "\n",
           counters->starved, counters->overflows, counters->buffers, counters->copied_bytes);
}

static void print_round(const char *name, const struct client *client,
                        const struct service *service) {
    char connections[UNITS_TEXT_BYTES];
    print_tally(&client->tally, &service->counters);
    if (client->failure.text[0])
        printf("not ok soak %s: %s\n", name, client->failure.text);
    else
        printf("ok soak %s: no wrong byte, %s connections%s\n", name,
               units_count((double)client->count, connections),
               client->tally.seconds_judged > 0 ? ", each got on in every second judged"
                                                : "; no second to judge progress by");
}

/* False: something was wrong. */
static bool run_round(const struct options *options, uint32_t buffers, double seconds,
                      const char *name) {
    struct service service;
    struct client client = {.count = options->connections};
    struct error error = {""};
    int failure = service_start(&service, options, buffers, &client.target, &error);
    if (failure) {
        printf("%s soak %s: %s\n", failure == -ENOTSUP ? "skip" : "not ok", name, error.text);
        return failure == -ENOTSUP;
    }
    CHECK(loop_open("epoll", NULL, &client.loop, &error) == 0);
    random_seed(&client.random, options->seed + buffers);
    client.pattern = new_pattern(&client.random);
    client.places = calloc(client.count, sizeof *client.places);
    CHECK(client.places);
    client_run(&client, seconds);
    if (!service_stop(&service)) {
        printf("not ok soak %s: %s%sthe server does not stop\n", name, client.failure.text,
               client.failure.text[0] ? "; and " : "");
        fflush(stdout);
        _Exit(1);
    }
    if (service.failure)
        FAIL(&client, "the server's loop: %s", strerror(-service.failure));
    print_round(name, &client, &service);
    fflush(stdout);
    bool passed = !client.failure.text[0];
    client_free(&client);
    return passed;
}

/* Only io_uring has so many buffers; another loop has one round. */
static bool run_rounds(const struct options *options) {
    static const uint32_t buffers[] = {2, 4, 8};
    char name[64];
    if (strcmp(options->loop, "io_uring") != 0)
        return run_round(options, 0, options->seconds, options->loop);
    for (size_t i = 0; i < ARRAY_LENGTH(buffers); i++) {
        snprintf(name, sizeof name, "%" PRIu32 " buffers", buffers[i]);
        if (interrupted)
            printf("skip soak %s: interrupted\n", name);
        else if (!run_round(options, buffers[i], options->seconds / ARRAY_LENGTH(buffers), name))
            return false;
    }
    return true;
}

static const struct option long_options[] = {{"loop", required_argument, NULL, 'l'},
                                             {"listen", required_argument, NULL, 'a'},
                                             {"seconds", required_argument, NULL, 's'},
                                             {"connections", required_argument, NULL, 'c'},
                                             {"seed", required_argument, NULL, 'r'},
                                             {NULL, 0, NULL, 0}};

static bool read_options(int argc, char **argv, struct options *options) {
    int option;
    while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
        char *end = "";
        if (option == 'l')
            options->loop = optarg;
        else if (option == 'a')
            options->listen = optarg;
        else if (option == 's')
            options->seconds = strtod(optarg, &end);
        else if (option == 'c')
            options->connections = strtoul(optarg, &end, 10);
        else if (option == 'r')
            options->seed = strtoull(optarg, &end, 10);
        else
            return false;
        if (*end)
            return false;
    }
    return optind == argc && options->seconds > 0 && options->connections > 0;
}

int main(int argc, char **argv) {
    struct options options = {.loop = "io_uring",
                              .listen = "127.0.0.1:0",
                              .seconds = 2,
                              .seed = 1,
                              .connections = 1000};
    if (!read_options(argc, argv, &options)) {
        fprintf(stderr, "usage: echo [--loop NAME] [--seconds N] [--connections N] [--seed N]"
                        " [--listen HOST:PORT|unix:PATH]\n");
        return 2;
    }
    limits_raise_open_files();
    interrupt_catch();
    bool passed = run_rounds(&options);
    struct rusage usage;
    char rss[UNITS_TEXT_BYTES];
    getrusage(RUSAGE_SELF, &usage);
    printf("seed %" PRIu64 ", at most %s of memory\n", options.seed,
           units_bytes((double)usage.ru_maxrss * 1024, rss));
    return passed ? 0 : 1;
}
