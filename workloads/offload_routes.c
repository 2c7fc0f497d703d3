/* offload_routes.c: see offload_routes.h. */
#include "offload_routes.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* SplitMix64. */
uint64_t offload_scatter(uint64_t k) {
    k = (k + 1) * 0x9e3779b97f4a7c15ull;
    k = (k ^ (k >> 30)) * 0xbf58476d1ce4e5b9ull;
    k = (k ^ (k >> 27)) * 0x94d049bb133111ebull;
    return k ^ (k >> 31);
}

/* ---- paths ------------------------------------------------------------------------------------
 */

enum path_kind { PATH_LIGHT, PATH_WORK, PATH_JOB, PATH_MIX, PATH_PASSES, PATH_TIMER };

/* A word that ends in a slash has a number behind it, and any other nothing. */
static const struct path {
    const char *word;
    enum path_kind kind;
    enum offload_kind work;
    uint64_t most;
} paths[] = {
    {"/light", PATH_LIGHT, 0, 0},
    {"/job", PATH_JOB, 0, 0},
    {"/mix", PATH_MIX, 0, 0},
    {"/sleep/", PATH_WORK, OFFLOAD_SLEEP, OFFLOAD_US_MOST},
    {"/cpu/", PATH_WORK, OFFLOAD_CPU, OFFLOAD_US_MOST},
    {"/hash/", PATH_WORK, OFFLOAD_HASH, OFFLOAD_BYTES_MOST},
    {"/compress/", PATH_WORK, OFFLOAD_COMPRESS, OFFLOAD_BYTES_MOST},
    {"/file/cold", PATH_WORK, OFFLOAD_FILE_COLD, 0},
    {"/file/warm", PATH_WORK, OFFLOAD_FILE_WARM, 0},
    {"/resolve", PATH_WORK, OFFLOAD_RESOLVE, 0},
    {"/passes/", PATH_PASSES, 0, OFFLOAD_PASSES_MOST},
    {"/timer/", PATH_TIMER, 0, OFFLOAD_US_MOST},
};

/* What a request asks for. */
struct question {
    enum path_kind kind;
    struct offload_work work; /* of PATH_PASSES and PATH_TIMER: its amount alone */
    enum threadpool_priority priority;
};

static bool begins_with(const char *at, const char *end, const char *word) {
    size_t length = strlen(word);
    return (size_t)(end - at) >= length && memcmp(at, word, length) == 0;
}

/* All of it, and at least one digit. */
static bool read_number(const char *at, const char *end, uint64_t most, uint64_t *number) {
    if (at == end)
        return false;
    for (*number = 0; at < end; at++) {
        if (*at < '0' || *at > '9')
            return false;
        *number = *number * 10 + (uint64_t)(*at - '0');
        if (*number > most)
            return false;
    }
    return true;
}

static bool read_path(const struct path *path, const char *at, const char *end, uint64_t *number) {
    size_t length = strlen(path->word);
    if (!begins_with(at, end, path->word))
        return false;
    return path->word[length - 1] == '/' ? read_number(at + length, end, path->most, number)
                                         : at + length == end;
}

/* False: no path of ours. */
static bool read_question(const struct http_exchange *exchange, struct question *question) {
    static const char low[] = "/low";
    const char *at = exchange->path, *end = at + exchange->path_bytes;
    uint64_t number = 0;
    bool is_low = begins_with(at, end, low);
    if (is_low)
        at += sizeof low - 1;
    for (const struct path *path = paths; path < paths + ARRAY_LENGTH(paths); path++)
        if (read_path(path, at, end, &number)) {
            *question = (struct question){.kind = path->kind,
                                          .work = {path->work, number},
                                          .priority = is_low ? THREADPOOL_LOW : THREADPOOL_HIGH};
            return !is_low || path->kind == PATH_WORK || path->kind == PATH_JOB;
        }
    return false;
}

/* ---- jobs -------------------------------------------------------------------------------------
 */

/* It outlives its exchange when the client has gone, and may never have had one. */
struct job {
    struct job *next; /* of those that are idle */
    struct offload_routes *routes;
    struct http_exchange *exchange; /* that waits for the answer, or null */
    struct executor_job run;
    struct offload_work work;
    int failure;
    char text[OFFLOAD_TEXT_BYTES]; /* the answer: written where the work is done */
    struct post pass;              /* of /passes */
    uint64_t passes_left;
    struct timer timer; /* of /timer; set: nothing else is under way */
};

static struct job *take_job(struct offload_routes *routes, struct http_exchange *exchange,
                            const struct offload_work *work) {
    struct job *job = routes->idle_jobs;
    if (job)
        routes->idle_jobs = job->next;
    else
        job = calloc(1, sizeof *job);
    if (!job)
        return NULL;
    routes->jobs++;
    job->routes = routes;
    job->exchange = exchange;
    job->work = *work;
    job->failure = 0;
    if (exchange)
        exchange->route = job;
    return job;
}

static void give_back(struct job *job) {
    struct offload_routes *routes = job->routes;
    job->next = routes->idle_jobs;
    routes->idle_jobs = job;
    routes->jobs--;
}

static void reply_words(struct http_exchange *exchange, int status, const char *words) {
    http_reply(exchange,
               &(struct http_reply){.status = status, .body = words, .bytes = strlen(words)});
}

/* The end of a job: a reply may bring the next request, so only then is its memory free. */
static void answer(struct job *job, int status, const char *words) {
    struct http_exchange *exchange = job->exchange;
    job->exchange = NULL;
    if (exchange)
        reply_words(exchange, status, words);
    give_back(job);
}

static void do_work(struct executor_job *run) {
    struct job *job = CONTAINER_OF(run, struct job, run);
    job->failure = offload_do(job->routes->place, &job->work, job->text);
}

static void answer_result(struct job *job) {
    job->routes->failed += job->failure != 0;
    answer(job, job->failure ? 500 : 200, job->text);
}

static void work_done(struct executor_job *run, int err) {
    struct job *job = CONTAINER_OF(run, struct job, run);
    if (job->exchange)
        http_step(job->exchange, "back on the loop");
    if (err)
        answer(job, 503, "the server stops\n");
    else
        answer_result(job);
}

static void begin_work(struct job *job, enum threadpool_priority priority) {
    job->run = (struct executor_job){.work = do_work, .done = work_done, .priority = priority};
    int result = executor_submit(job->routes->executor, &job->run);
    if (result == EXECUTOR_NOW)
        answer_result(job);
    else if (result == -ESHUTDOWN)
        answer(job, 503, "the server stops\n");
    else if (result < 0)
        answer(job, 503, "too many jobs\n");
}

void offload_run_in_background(struct offload_routes *routes, enum threadpool_priority priority) {
    struct job *job = take_job(routes, NULL, &routes->job);
    if (job)
        begin_work(job, priority);
    else
        routes->failed++;
}

/* ---- passes and timers
 * -----------------------------------------------------------------------------------
 */

static void say_amount(struct job *job) {
    snprintf(job->text, sizeof job->text, "%llu\n", (unsigned long long)job->work.amount);
}

/* A post that is posted while posts run comes in the next pass. */
static void pass(struct post *post) {
    struct job *job = CONTAINER_OF(post, struct job, pass);
    if (job->exchange && job->passes_left-- > 0)
        loop_post(job->routes->loop, post);
    else
        answer(job, 200, job->text);
}

static void begin_passes(struct job *job) {
    say_amount(job);
    job->passes_left = job->work.amount;
    job->pass.run = pass;
    loop_post(job->routes->loop, &job->pass);
}

static void timer_came(struct timer *timer) {
    struct job *job = CONTAINER_OF(timer, struct job, timer);
    answer(job, 200, job->text);
}

static void begin_timer(struct job *job) {
    say_amount(job);
    job->timer.on_due = timer_came;
    timer_set(job->routes->loop, &job->timer, clock_now_ns() + job->work.amount * NS_PER_US);
}

/* ---- routes -----------------------------------------------------------------------------------
 */

static void choose_of_mix(struct offload_routes *routes, struct question *question) {
    uint64_t k = routes->mixed++;
    question->kind = offload_scatter(k) % 1000 < routes->heavy_per_1000 ? PATH_JOB : PATH_LIGHT;
}

static bool begin(void *data, struct http_exchange *exchange) {
    struct offload_routes *routes = data;
    struct question question;
    if (!read_question(exchange, &question))
        return false;
    if (question.kind == PATH_MIX)
        choose_of_mix(routes, &question);
    if (question.kind == PATH_LIGHT) {
        routes->light++;
        reply_words(exchange, 200, "light\n");
        return true;
    }
    struct job *job =
        take_job(routes, exchange, question.kind == PATH_JOB ? &routes->job : &question.work);
    if (!job)
        reply_words(exchange, 503, "out of memory\n");
    else if (question.kind == PATH_PASSES)
        begin_passes(job);
    else if (question.kind == PATH_TIMER)
        begin_timer(job);
    else
        begin_work(job, question.priority);
    return true;
}

static void gone(void *data, struct http_exchange *exchange) {
    struct offload_routes *routes = data;
    struct job *job = exchange->route;
    routes->gone++;
    job->exchange = NULL;
    if (timer_is_set(&job->timer)) {
        timer_cancel(routes->loop, &job->timer);
        give_back(job);
    } else
        executor_cancel(&job->run);
}

/* Every answer is short, so none is lent and `sent` never comes. */
const struct http_routes offload_http_routes = {.begin = begin, .gone = gone};

void offload_routes_free(struct offload_routes *routes) {
    CHECK(routes->jobs == 0);
    while (routes->idle_jobs) {
        struct job *job = routes->idle_jobs;
        routes->idle_jobs = job->next;
        free(job);
    }
}
