/* generator_crew.c: the threads together: hired, listened to once a second, and summed up. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "harness/generator.h"
#include "harness/load_knobs.h"

uint64_t crew_answers(const struct crew *crew) {
    uint64_t answers = 0;
    for (uint32_t i = 0; i < crew->thread_count; i++)
        answers += atomic_load_explicit(&crew->threads[i].answers, memory_order_relaxed);
    return answers;
}

/* ---- one interval a second ------------------------------------------------------------------- */

void crew_begin_intervals(struct thread *thread) {
    struct interval_slot *first = interval_current(thread->latency);
    first->requests = first->errors = 0; /* of the warm-up */
    timer_set(thread->loop, &thread->interval_end, thread->opened_ns + NS_PER_S);
}

void crew_on_interval(struct timer *timer) {
    struct thread *thread = CONTAINER_OF(timer, struct thread, interval_end);
    uint64_t due_ns = timer->due_ns;
    interval_end(thread->latency, ++thread->seconds, false, clock_now_ns());
    timer_set(thread->loop, timer, due_ns + NS_PER_S);
}

void crew_end_intervals(struct thread *thread) {
    timer_cancel(thread->loop, &thread->interval_end);
    interval_end(thread->latency, ++thread->seconds, false, thread->closed_ns);
}

void crew_close_intervals(struct thread *thread) {
    interval_close(thread->latency, ++thread->seconds, true, clock_now_ns());
}

/* ---- putting the threads together ------------------------------------------------------------ */

static uint64_t timeval_ns(struct timeval time) {
    return (uint64_t)time.tv_sec * NS_PER_S + (uint64_t)time.tv_usec * 1000;
}

static int by_number(const void *a, const void *b) {
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
    return (left > right) - (left < right);
}

/* Over all connections that ask. Without memory for it fairness is not known. */
static void judge_fairness(const struct crew *crew, struct load_result *result) {
    uint64_t *answers = malloc((result->connections + 1) * sizeof *answers);
    uint32_t count = 0;
    for (uint32_t i = 0; answers && i < crew->thread_count; i++)
        for (uint32_t k = 0; k < crew->threads[i].slot_count; k++)
            if (!crew->threads[i].slots[k].idle)
                answers[count++] = crew->threads[i].slots[k].answers;
    result->asking_connections = count;
    if (count > 0) {
        qsort(answers, count, sizeof *answers, by_number);
        result->slowest_connection = answers[0];
        result->median_connection = answers[count / 2];
        result->fastest_connection = answers[count - 1];
    }
    free(answers);
}

/* A closed loop ends with requests under way: they have no time yet, but a server that has stopped
 * answering must not look fast for it. */
static void add_waiting(struct load_result *result, const struct thread *thread) {
    for (uint32_t i = 0; i < thread->slot_count; i++) {
        const struct slot *slot = &thread->slots[i];
        uint64_t sent_ns = slot->outstanding ? slot->asked[slot->first].sent_ns : UINT64_MAX;
        if (sent_ns < thread->closed_ns && thread->closed_ns - sent_ns > result->waiting_ns)
            result->waiting_ns = thread->closed_ns - sent_ns;
    }
}

static void add_outcomes(struct load_result *result, const struct thread *thread) {
    for (size_t i = 0; i < LOAD_ERRORS; i++)
        result->errors[i] += thread->errors[i];
    for (uint32_t i = 0; i < thread->cause_count; i++)
        load_add_cause(result->causes, &result->cause_count, &thread->causes[i]);
    for (size_t i = 0; i < LOAD_STATUS_CLASSES; i++)
        histogram_add_recorder(&result->status[i], &thread->status[i]);
    histogram_add_recorder(&result->connect, &thread->connect_times);
    result->has_statuses |= thread->has_statuses;
    result->reconnects += thread->reconnects;
    result->lookups.count += thread->lookups.count;
    result->lookups.total_ns += thread->lookups.total_ns;
    if (thread->lookups.longest_ns > result->lookups.longest_ns)
        result->lookups.longest_ns = thread->lookups.longest_ns;
}

static void add_thread(struct load_result *result, const struct thread *thread) {
    uint64_t window_ns = turns_own_between_ns(&thread->crew->plan->turns, thread->opened_ns,
                                              thread->closed_ns);
    uint64_t cpu_ns = thread->after.cpu_ns - thread->before.cpu_ns;
    uint64_t spin_ns = thread->after.spin_ns - thread->before.spin_ns;
    if (spin_ns >
        cpu_ns) /* it was preempted while spinning; then the row says that it was starved */
        spin_ns = cpu_ns;
    uint64_t starved =
        load_starved_ns(thread->crew->plan, &thread->before.cpu_wait, &thread->after.cpu_wait);
    const struct rusage *before = &thread->before.kernel, *after = &thread->after.kernel;
    if (result->open_loop) {
        histogram_add_recorder(&result->service, &thread->service);
        histogram_add_recorder(&result->lag, &thread->lag);
    }
    result->window_ns += window_ns / result->threads;
    result->due += thread->due_count;
    result->sent += thread->sent_count;
    result->unsent += thread->unsent;
    result->shed += thread->shed;
    result->requests += thread->answers_in_window;
    result->received_bytes += thread->received_bytes;
    result->answers += thread->after.answers - thread->before.answers;
    result->cpu_ns += cpu_ns;
    result->spin_ns += spin_ns;
    result->user_ns += timeval_ns(after->ru_utime) - timeval_ns(before->ru_utime);
    result->context_switches += (uint64_t)(after->ru_nvcsw - before->ru_nvcsw) +
                                (uint64_t)(after->ru_nivcsw - before->ru_nivcsw);
    add_outcomes(result, thread);
    if (starved > result->starved_ns)
        result->starved_ns = starved;
    double busy = (double)(cpu_ns - spin_ns) / (double)window_ns;
    if (busy > 1) /* both ends are read one after the other, which a tiny window shows */
        busy = 1;
    if (busy > result->busy)
        result->busy = busy;
    if (!result->open_loop)
        result->achieved_rate += (double)thread->answers_in_window / (double)window_ns * 1e9;
    if (!result->open_loop)
        add_waiting(result, thread);
}

static void put_together(struct crew *crew) {
    struct load_result *result = crew->result;
    result->threads = crew->thread_count;
    for (uint32_t i = 0; i < crew->thread_count; i++)
        add_thread(result, &crew->threads[i]);
    judge_fairness(crew, result);
    /* What was due follows from the planned window, not from when its edges were noticed. */
    const struct thread *first = &crew->threads[0];
    double planned_ns = first->end_ns != UINT64_MAX
                            ? (double)turns_own_between_ns(&crew->plan->turns, first->window_ns,
                                                           first->end_ns)
                            : (double)result->window_ns;
    if (crew->open_loop && planned_ns > 0) {
        result->offered_rate = (double)result->due / planned_ns * 1e9;
        result->achieved_rate = (double)result->sent / planned_ns * 1e9;
    }
    result->interrupted = atomic_load(crew->stopping);
    result->finished = true;
}

static uint32_t share(uint32_t whole, uint32_t part, uint32_t parts) {
    return whole / parts + (part < whole % parts);
}

static void make_schedule(const struct crew *crew, struct thread *thread) {
    const struct knob_values *knobs = &crew->plan->knobs;
    enum arrivals arrivals = (enum arrivals)knob_get(knobs, "arrivals");
    double rate = knob_get(knobs, "rate"), end_rate = knob_get(knobs, "end_rate");
    if (end_rate > 0)
        schedule_init_ramp(&thread->schedule, arrivals, rate, end_rate, crew->warmup_ns,
                           crew->duration_ns, crew->plan->seed, thread->number, crew->thread_count);
    else
        schedule_init(&thread->schedule, arrivals, rate, crew->plan->seed, thread->number,
                      crew->thread_count);
}

static bool hire_thread(struct crew *crew, uint32_t number) {
    const struct load_plan *plan = crew->plan;
    struct thread *thread = &crew->threads[number];
    uint32_t active = (uint32_t)knob_get(&plan->knobs, "connections");
    uint32_t idle = (uint32_t)knob_get(&plan->knobs, "idle_connections");
    uint32_t own_active = share(active, number, crew->thread_count);
    thread->crew = crew;
    thread->number = number;
    thread->latency = &crew->rings[number];
    memset(thread->latency->slots, 0, sizeof thread->latency->slots); /* to have its pages */
    thread->slot_count = own_active + share(idle, number, crew->thread_count);
    thread->has_quota = plan->requests > 0;
    thread->quota =
        plan->requests / crew->thread_count + (number < plan->requests % crew->thread_count);
    thread->slots = calloc(thread->slot_count, sizeof *thread->slots);
    if (!thread->slots)
        return false;
    for (uint32_t i = own_active; i < thread->slot_count; i++)
        thread->slots[i].idle = true;
    if (crew->open_loop)
        make_schedule(crew, thread);
    return true;
}

/* Those that were given, or 127.0.0.1, 127.0.0.2, …: each adds its own 28,000 ports. Other targets
 * keep the default source. */
static int choose_sources(struct crew *crew) {
    const struct load_plan *plan = crew->plan;
    const struct endpoint *target = &plan->target;
    uint32_t count = (uint32_t)knob_get(&plan->knobs, "source_addresses");
    bool own = target->address.ss_family == AF_INET && endpoint_is_loopback(target) && count > 1;
    crew->source_count = plan->sources ? plan->source_count : own ? count : 0;
    crew->sources = calloc(crew->source_count + 1, sizeof *crew->sources);
    if (!crew->sources)
        return -ENOMEM;
    for (uint32_t i = 0; i < crew->source_count; i++) {
        char text[ENDPOINT_TEXT_BYTES];
        struct error error;
        snprintf(text, sizeof text, "127.0.0.%u:0", i + 1);
        if (plan->sources)
            crew->sources[i] = plan->sources[i];
        else
            CHECK(endpoint_parse(text, &crew->sources[i], &error) == 0);
    }
    return 0;
}

static bool prepare(struct crew *crew) {
    const struct knob_values *knobs = &crew->plan->knobs;
    crew->thread_count = (uint32_t)knob_get(knobs, "threads");
    crew->in_flight = (uint32_t)knob_get(knobs, "in_flight");
    crew->open_loop = knob_get(knobs, "rate") > 0;
    if (crew->plan->url)
        crew->url = *crew->plan->url;
    else
        url_of_endpoint(crew->plan->workload->schemes[0], &crew->plan->target, &crew->url);
    if (knob_get(knobs, "resolve") == RESOLVE_CONNECTION)
        crew->looked_up = crew->plan->url ? crew->url.name : "localhost";
    crew->warmup_ns = (uint64_t)knob_get(knobs, "warmup");
    crew->duration_ns = (uint64_t)knob_get(knobs, "duration");
    crew->timeout_ns = (uint64_t)knob_get(knobs, "timeout");
    crew->connect_timeout_ns = (uint64_t)knob_get(knobs, "connect_timeout");
    crew->deadline_ns = (uint64_t)knob_get(knobs, "deadline");
    crew->connection_ramp_ns = (uint64_t)knob_get(knobs, "connection_ramp");
    crew->requests_per_connection = (uint32_t)knob_get(knobs, "requests_per_connection");
    crew->error_status = status_errors_from((enum status_errors)knob_get(knobs, "status_errors"));
    /* Histograms want their alignment, so not calloc. */
    crew->threads = aligned_alloc(128, crew->thread_count * sizeof *crew->threads);
    if (!crew->threads || choose_sources(crew))
        return false;
    memset((void *)crew->threads, 0, crew->thread_count * sizeof *crew->threads);
    for (uint32_t i = 0; i < crew->thread_count; i++) {
        if (!hire_thread(crew, i))
            return false;
        crew->result->connections += crew->threads[i].slot_count;
    }
    pthread_barrier_init(&crew->barrier, NULL, crew->thread_count);
    pthread_mutex_init(&crew->lock, NULL);
    return true;
}

static void tear_down(struct thread *thread) {
    if (!thread->all_closed)
        return;
    if (thread->client)
        thread->crew->plan->workload->client->stop(thread->client);
    if (thread->loop)
        loop_free(thread->loop);
    for (uint32_t i = 0; i < thread->slot_count; i++)
        free(thread->slots[i].asked);
    free(thread->slots);
}

void generator_run(const struct load_plan *plan, struct load_result *result,
                   struct interval_ring *rings, atomic_bool *stopping) {
    struct crew *crew = calloc(1, sizeof *crew);
    CHECK(crew);
    *crew = (struct crew){.plan = plan, .result = result, .rings = rings, .stopping = stopping};
    if (!prepare(crew)) {
        error_set(&result->failure, -ENOMEM, "out of memory for the generator's threads");
        return; /* the process ends with it */
    }
    for (uint32_t i = 1; i < crew->thread_count; i++)
        CHECK(pthread_create(&crew->threads[i].id, NULL, generator_thread, &crew->threads[i]) == 0);
    generator_thread(&crew->threads[0]);
    for (uint32_t i = 1; i < crew->thread_count; i++)
        pthread_join(crew->threads[i].id, NULL);
    if (!atomic_load(&crew->failed))
        put_together(crew);
    for (uint32_t i = 0; i < crew->thread_count; i++)
        tear_down(&crew->threads[i]);
    pthread_barrier_destroy(&crew->barrier);
    pthread_mutex_destroy(&crew->lock);
    free(crew->threads);
    free(crew->sources);
    free(crew);
}
