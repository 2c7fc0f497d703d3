/* posts.c: posts from other threads, by the million: none may be lost, overtaken or late, and a
 * loop that sleeps once may be woken once.
 *
 * Each loop has two rounds. In the first, four producers post in bursts, with sleeps of random
 * length between, so that the loop sleeps, too. In the second, one producer on a CPU of its own
 * waits until its post has run before it posts the next one: the loop is then about to sleep, and
 * both of them dawdle for a random time, so that every order comes up in which one announces its
 * sleep and the other posts. A wake-up that is lost there stays lost, since nobody posts again,
 * and is told after ten seconds. How often that was close: sleeps that nobody had to end, as the
 * loop's second look at its posts found one.
 *
 * Lateness, from before loop_post to when it has run, is told and judged only with --in-time: it
 * is the machine's, too. */
#include <getopt.h>
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "harness/random.h"
#include "harness/units.h"
#include "loops/loop.h"

enum { PRODUCERS_MOST = 4, AHEAD_MOST = 4096, LOOKS_PER_YIELD = 1000 };
#define LATE_NS (50 * NS_PER_MS)
#define LOST_NS (10 * NS_PER_S)

struct options {
    const char *loop; /* null: all of them */
    uint64_t posts;   /* of each producer */
    uint64_t seed;
    bool in_time;
};

/* ---- pauses ---------------------------------------------------------------------------------- */

/* Each power of two as often as the next: mostly small. */
static uint64_t random_magnitude(struct random *random, unsigned bits_most) {
    return 1 + random_below(random, UINT64_C(1) << random_below(random, bits_most + 1));
}

static void sleep_briefly(struct random *random) {
    struct timespec length = {.tv_nsec = (long)random_magnitude(random, 18)};
    nanosleep(&length, NULL);
}

static void pause_after_burst(struct random *random) {
    if (random_below(random, 128) == 0)
        sleep_briefly(random);
}

static void dawdle(struct random *random, uint64_t turns_most) {
    for (uint64_t left = random_below(random, turns_most); left > 0; left--)
        __asm__ volatile("");
}

static void dawdle_or_sleep(struct random *random) {
    if (random_below(random, 128) == 0)
        sleep_briefly(random);
    dawdle(random, 512);
}

/* Longer, for the producer has to see first that its post has run. */
static void dawdle_in_loop(struct random *random) {
    dawdle(random, 4096);
}

struct round {
    const char *name;
    unsigned producers;
    uint64_t ahead; /* posts of one that have not run */
    bool apart;     /* the loop has a CPU of its own, if there are two */
    void (*pause)(struct random *random);      /* before each post */
    void (*loop_pause)(struct random *random); /* after each one; null: none */
};

static const struct round rounds[] = {
    {"4 producers", 4, AHEAD_MOST, false, pause_after_burst, NULL},
    {"1 producer", 1, 1, true, dawdle_or_sleep, dawdle_in_loop},
};

/* ---- producers ------------------------------------------------------------------------------- */

struct numbered_post {
    struct post post;
    struct producer *producer;
    uint64_t number, posted_ns;
};

struct producer {
    struct party *party;
    pthread_t thread;
    struct random random;
    _Atomic(uint64_t) ran; /* so many of its posts have */
    struct numbered_post posts[AHEAD_MOST]; /* used again and again */
};

/* Of the loop's thread, but for what is atomic. */
struct party {
    const struct round *round;
    struct loop *loop;
    uint64_t posts; /* of each */
    atomic_uint producing;
    atomic_bool failed;
    struct random random;
    uint64_t overtaken, late, latest_ns;
    struct producer producers[PRODUCERS_MOST];
};

static void run_numbered(struct post *post) {
    struct numbered_post *numbered = CONTAINER_OF(post, struct numbered_post, post);
    struct producer *producer = numbered->producer;
    struct party *party = producer->party;
    uint64_t late_ns = clock_now_ns() - numbered->posted_ns;
    uint64_t ran = atomic_load_explicit(&producer->ran, memory_order_relaxed);
    party->overtaken += numbered->number != ran;
    party->late += late_ns > LATE_NS;
    if (late_ns > party->latest_ns)
        party->latest_ns = late_ns;
    atomic_store_explicit(&producer->ran, ran + 1, memory_order_release);
    if (party->round->loop_pause)
        party->round->loop_pause(&party->random);
}

/* False: they do not, or another producer waits in vain. */
static bool wait_until_ran(struct producer *producer, uint64_t count) {
    uint64_t looks = 0, seen = 0, seen_ns = clock_now_ns(), ran;
    while ((ran = atomic_load_explicit(&producer->ran, memory_order_acquire)) < count) {
        if (++looks % LOOKS_PER_YIELD)
            continue;
        uint64_t now_ns = clock_now_ns();
        if (ran != seen) {
            seen = ran;
            seen_ns = now_ns;
        }
        if (now_ns > seen_ns + LOST_NS)
            atomic_store(&producer->party->failed, true);
        if (atomic_load(&producer->party->failed))
            return false;
        sched_yield();
    }
    return true;
}

static void *produce(void *data) {
    struct producer *producer = data;
    struct party *party = producer->party;
    uint64_t ahead = party->round->ahead, number = 0;
    while (number < party->posts &&
           wait_until_ran(producer, number < ahead ? 0 : number + 1 - ahead)) {
        struct numbered_post *numbered = &producer->posts[number % ahead];
        party->round->pause(&producer->random);
        *numbered = (struct numbered_post){.post.run = run_numbered,
                                           .producer = producer,
                                           .number = number++,
                                           .posted_ns = clock_now_ns()};
        loop_post(party->loop, &numbered->post);
    }
    wait_until_ran(producer, number);
    if (atomic_fetch_sub(&party->producing, 1) == 1)
        loop_stop(party->loop);
    return NULL;
}

/* ---- CPUs ------------------------------------------------------------------------------------ */

/* The loop's thread gets the first of `all`, producers the others. */
static void part(const struct party *party, const cpu_set_t *all) {
    cpu_set_t first, others = *all;
    int cpu = 0;
    while (!CPU_ISSET(cpu, all))
        cpu++;
    CPU_ZERO(&first);
    CPU_SET(cpu, &first);
    CPU_CLR(cpu, &others);
    if (CPU_COUNT(&others) == 0)
        return;
    pthread_setaffinity_np(pthread_self(), sizeof first, &first);
    for (unsigned i = 0; i < party->round->producers; i++)
        pthread_setaffinity_np(party->producers[i].thread, sizeof others, &others);
}

/* ---- a round --------------------------------------------------------------------------------- */

/* And one pass more, since what was written at the end is counted in the next. */
static int run_party(struct party *party, const struct options *options) {
    const struct round *round = party->round;
    cpu_set_t all;
    CHECK(pthread_getaffinity_np(pthread_self(), sizeof all, &all) == 0);
    atomic_init(&party->producing, round->producers);
    random_seed(&party->random, options->seed);
    for (unsigned i = 0; i < round->producers; i++) {
        struct producer *producer = &party->producers[i];
        producer->party = party;
        random_seed(&producer->random, options->seed + 1 + i);
        CHECK(pthread_create(&producer->thread, NULL, produce, producer) == 0);
    }
    if (round->apart)
        part(party, &all);
    int failure = loop_run(party->loop);
    for (unsigned i = 0; i < round->producers; i++)
        pthread_join(party->producers[i].thread, NULL);
    pthread_setaffinity_np(pthread_self(), sizeof all, &all);
    loop_stop(party->loop);
    return failure ? failure : loop_run(party->loop);
}

/* What is wrong, or an empty text. */
static struct error judge(const struct party *party, const struct options *options) {
    struct error wrong = {""};
    const struct loop_counters *counters = loop_counters(party->loop);
    uint64_t posted = party->round->producers * party->posts;
    if (atomic_load(&party->failed))
        error_set(&wrong, 0, "a post had not run after %d s", (int)(LOST_NS / NS_PER_S));
    else if (counters->posts != posted)
        error_set(&wrong, 0, "%" PRIu64 " of %" PRIu64 " posts ran", counters->posts, posted);
    else if (party->overtaken > 0)
        error_set(&wrong, 0, "%" PRIu64 " posts were not in order", party->overtaken);
    else if (counters->wakes > counters->sleeps)
        error_set(&wrong, 0, "%" PRIu64 " wake-ups for %" PRIu64 " sleeps", counters->wakes,
                  counters->sleeps);
    else if (options->in_time && party->late > 0)
        error_set(&wrong, 0, "%" PRIu64 " posts were over 50 ms late", party->late);
    return wrong;
}

static void print_round(const struct party *party, const char *loop, const struct error *wrong) {
    const struct loop_counters *counters = loop_counters(party->loop);
    char posts[UNITS_TEXT_BYTES], latest[UNITS_TEXT_BYTES];
    printf("    %s posts, the latest after %s, %" PRIu64 " over 50 ms late; %" PRIu64
           " sleeps, %" PRIu64 " wake-ups\n",
           units_count((double)counters->posts, posts),
           units_time((double)party->latest_ns, latest), party->late, counters->sleeps,
           counters->wakes);
    printf("%s posts %s %s%s%s\n", wrong->text[0] ? "not ok" : "ok", loop, party->round->name,
           wrong->text[0] ? ": " : "", wrong->text);
    fflush(stdout);
}

/* False: something was wrong. */
static bool run_round(const struct round *round, const char *loop, const struct options *options) {
    struct error wrong = {""};
    struct party *party = calloc(1, sizeof *party);
    CHECK(party);
    party->round = round;
    party->posts = options->posts;
    if (loop_open(loop, NULL, &party->loop, &wrong)) {
        printf("not ok posts %s %s: %s\n", loop, round->name, wrong.text);
        free(party);
        return false;
    }
    int failure = run_party(party, options);
    if (failure)
        error_set(&wrong, failure, "the loop: %s", strerror(-failure));
    else
        wrong = judge(party, options);
    print_round(party, loop, &wrong);
    loop_free(party->loop);
    free(party);
    return !wrong.text[0];
}

static bool run_loops(const struct options *options) {
    struct loop_info info;
    bool passed = true, any = false;
    for (size_t i = 0; loop_info(i, &info); i++) {
        if (info.control || (options->loop && strcmp(options->loop, info.name) != 0))
            continue;
        any = true;
        if (!info.available)
            printf("skip posts %s: %s\n", info.name, info.reason.text);
        for (size_t r = 0; info.available && r < ARRAY_LENGTH(rounds); r++)
            passed = run_round(&rounds[r], info.name, options) && passed;
    }
    if (!any)
        printf("not ok posts: no loop is called %s\n", options->loop);
    return passed && any;
}

static const struct option long_options[] = {{"loop", required_argument, NULL, 'l'},
                                             {"posts", required_argument, NULL, 'p'},
                                             {"seed", required_argument, NULL, 'r'},
                                             {"in-time", no_argument, NULL, 't'},
                                             {NULL, 0, NULL, 0}};

static bool read_options(int argc, char **argv, struct options *options) {
    int option;
    while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
        char *end = "";
        if (option == 'l')
            options->loop = optarg;
        else if (option == 'p')
            options->posts = strtoull(optarg, &end, 10);
        else if (option == 'r')
            options->seed = strtoull(optarg, &end, 10);
        else if (option == 't')
            options->in_time = true;
        else
            return false;
        if (*end)
            return false;
    }
    return optind == argc && options->posts > 0;
}

int main(int argc, char **argv) {
    struct options options = {.posts = 10000, .seed = 1};
    if (!read_options(argc, argv, &options)) {
        fprintf(stderr, "usage: posts [--loop NAME] [--posts N] [--seed N] [--in-time]\n");
        return 2;
    }
    return run_loops(&options) ? 0 : 1;
}
