/* generator.c: the life of a generator thread, and what is read on the edges of the window. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "harness/control.h"
#include "harness/generator.h"

/* mark: CPU time exactly on the window's edge; the thorough one stays out of the window. */
enum { MARK_AHEAD_MS = 20, CONTROL_TIMEOUT_MS = 200 };
#define SPIN_NS (300 * NS_PER_US)
#define START_DELAY_NS (2 * NS_PER_MS)
#define STOP_GRACE_NS (200 * NS_PER_MS) /* for answers under way after ^C */

void generator_fail(struct thread *thread, const char *what) {
    struct crew *crew = thread->crew;
    pthread_mutex_lock(&crew->lock);
    if (!atomic_exchange(&crew->failed, true))
        error_set(&crew->result->failure, -EIO, "%s", what);
    pthread_mutex_unlock(&crew->lock);
    thread->failure = -EIO;
    loop_stop(thread->loop);
}

/* ---- the window's edges ---------------------------------------------------------------------- */

/* The second and third number of schedstat, proc(5). */
static struct cpu_wait cpu_wait_of(pid_t tid) {
    char path[64], text[128];
    unsigned long long ran_ns, waited_ns, turns;
    snprintf(path, sizeof path, "proc/%d/schedstat", (int)tid);
    if (host_file_read("/", path, text, sizeof text) < 0 ||
        sscanf(text, "%llu %llu %llu", &ran_ns, &waited_ns, &turns) != 3)
        return (struct cpu_wait){0, 0};
    return (struct cpu_wait){.ns = waited_ns, .turns = turns};
}

static void mark_thoroughly(struct crew *crew, struct server_mark *mark) {
    const struct load_plan *plan = crew->plan;
    if (plan->control_fd >= 0)
        mark->counters_known =
            control_ask(plan->control_fd, &mark->counters, CONTROL_TIMEOUT_MS) == 0;
    if (!mark->counters_known ||
        control_ask_workload(plan->control_fd, &mark->workload, CONTROL_TIMEOUT_MS) != 0)
        mark->workload = (struct control_workload){.count = 0};
    mark->thorough_answers = crew_answers(crew);
    mark->usage_known = plan->server_pid > 0 && usage_read(plan->server_pid, &mark->usage) == 0;
}

static void mark_cpu(const struct crew *crew, struct server_mark *mark) {
    pid_t pid = crew->plan->server_pid;
    mark->cpu_known = pid > 0 && usage_cpu_ns(pid, &mark->cpu_ns) == 0;
    mark->at_ns = clock_now_ns();
    mark->answers = crew_answers(crew);
    mark->cpu_wait = pid > 0 ? cpu_wait_of(pid) : (struct cpu_wait){0, 0};
}

static struct own_usage read_own_usage(const struct thread *thread) {
    struct own_usage usage = {.cpu_ns = thread_cpu_ns(),
                              .spin_ns = loop_counters(thread->loop)->spin_ns,
                              .cpu_wait = cpu_wait_of(gettid()),
                              .answers = thread->answers};
    getrusage(RUSAGE_THREAD, &usage.kernel);
    return usage;
}

static void mark_due(struct timer *timer) {
    struct thread *thread = CONTAINER_OF(timer, struct thread, mark);
    struct crew *crew = thread->crew;
    mark_thoroughly(crew, &crew->result->before);
    crew->result->host_known =
        host_cpu_read("/", &crew->plan->watched_cpus, &crew->result->host_before) == 0;
}

static void edge_due(struct timer *timer) {
    struct thread *thread = CONTAINER_OF(timer, struct thread, edge);
    if (thread->phase != PHASE_WARMUP) {
        generator_begin_drain(thread);
        return;
    }
    if (thread->number == 0)
        mark_cpu(thread->crew, &thread->crew->result->before);
    thread->before = read_own_usage(thread);
    thread->opened_ns = clock_now_ns();
    thread->phase = PHASE_WINDOW;
    crew_begin_intervals(thread);
    if (!thread->has_quota)
        timer_set(thread->loop, &thread->edge, thread->end_ns);
    else if (thread->quota == 0)
        generator_begin_drain(thread); /* all were due before the edge was noticed */
}

/* What was due in the window by the schedule's own count: Poisson arrivals have their own luck. */
static void count_due(struct thread *thread) {
    uint64_t end_ns = thread->end_ns == UINT64_MAX ? thread->closed_ns : thread->end_ns;
    const struct turns *turns = &thread->crew->plan->turns;
    uint64_t due = schedule_count_between(
        &thread->schedule, turns_own_between_ns(turns, thread->start_ns, thread->window_ns),
        turns_own_between_ns(turns, thread->start_ns, end_ns));
    thread->due_count = due > thread->sent_count ? due : thread->sent_count;
}

static void drain_is_over(struct timer *timer) {
    struct thread *thread = CONTAINER_OF(timer, struct thread, edge);
    loop_stop(thread->loop);
}

void generator_begin_drain(struct thread *thread) {
    struct crew *crew = thread->crew;
    if (thread->phase != PHASE_WINDOW)
        return;
    if (thread->number == 0)
        mark_cpu(crew, &crew->result->after);
    thread->closed_ns = clock_now_ns();
    thread->after = read_own_usage(thread);
    thread->phase = PHASE_DRAIN;
    if (atomic_load(crew->stopping) && thread->closed_ns < thread->end_ns)
        thread->end_ns = thread->closed_ns;
    crew_end_intervals(thread);
    if (thread->number == 0) {
        mark_thoroughly(crew, &crew->result->after);
        host_cpu_read("/", &crew->plan->watched_cpus, &crew->result->host_after);
    }
    if (!crew->open_loop) {
        loop_stop(thread->loop);
        return;
    }
    thread->edge.on_due = drain_is_over;
    uint64_t grace_ns = crew->timeout_ns;
    if (atomic_load(crew->stopping) && grace_ns > STOP_GRACE_NS)
        grace_ns = STOP_GRACE_NS;
    timer_set(thread->loop, &thread->edge, thread->closed_ns + grace_ns);
    requests_send_due(thread, clock_now_ns());
}

void generator_stop_early(struct thread *thread) {
    if (thread->phase == PHASE_WINDOW)
        generator_begin_drain(thread);
    else if (thread->phase != PHASE_DRAIN)
        generator_fail(thread, "interrupted before anything was measured");
}

/* ---- a thread's life ------------------------------------------------------------------------- */

static int set_up(struct thread *thread, struct error *error) {
    struct crew *crew = thread->crew;
    const struct load_plan *plan = crew->plan;
    struct loop_config config = {.spin_ns = plan->trace                         ? UINT64_MAX
                                            : crew->open_loop && !plan->no_spin ? SPIN_NS
                                                                                : 0};
    int failure = loop_open("epoll", &config, &thread->loop, error);
    if (failure)
        return failure;
    if (generator_trace_begin(thread))
        return error_set(error, -ENOMEM, "out of memory for a trace");
    struct client_setup setup = {.loop = thread->loop,
                                 .knobs = &plan->knobs,
                                 .url = &crew->url,
                                 .requests = plan->request_set,
                                 .tls = plan->tls,
                                 .verify = plan->verify,
                                 .in_flight = crew->in_flight,
                                 .requests_per_connection = crew->requests_per_connection,
                                 .seed = plan->seed + thread->number,
                                 .events = &generator_events};
    failure = plan->workload->client->start(&setup, &thread->client, error);
    if (failure)
        return failure;
    for (uint32_t i = 0; i < thread->slot_count; i++) {
        struct slot *slot = &thread->slots[i];
        slot->thread = thread;
        slot->retry.on_due = connections_on_retry;
        slot->asked = calloc(crew->in_flight, sizeof *slot->asked);
        if (!slot->asked)
            return error_set(error, -ENOMEM, "out of memory for %u connections",
                             thread->slot_count);
    }
    thread->due.on_due = requests_on_due;
    thread->mark.on_due = mark_due;
    thread->edge.on_due = edge_due;
    thread->scan.on_due = connections_on_scan;
    thread->interval_end.on_due = crew_on_interval;
    thread->connection_due.on_due = connections_on_due;
    return 0;
}

uint64_t generator_time_ns(const struct thread *thread, uint64_t offset_ns) {
    return turns_time_ns(&thread->crew->plan->turns, thread->own_start_ns + offset_ns);
}

static void plan_times(struct thread *thread) {
    struct crew *crew = thread->crew;
    thread->start_ns = crew->start_ns;
    thread->own_start_ns = turns_own_ns(&crew->plan->turns, crew->start_ns);
    thread->window_ns = generator_time_ns(thread, crew->warmup_ns);
    thread->end_ns = thread->has_quota
                         ? UINT64_MAX
                         : generator_time_ns(thread, crew->warmup_ns + crew->duration_ns);
}

static void start_asking(struct thread *thread) {
    struct crew *crew = thread->crew;
    plan_times(thread);
    if (thread->number == 0)
        atomic_store(&crew->result->window_opened_ns, thread->window_ns);
    thread->phase = PHASE_WARMUP;
    uint64_t ahead_ns = MARK_AHEAD_MS * NS_PER_MS;
    if (thread->number == 0)
        timer_set(thread->loop, &thread->mark,
                  thread->window_ns > ahead_ns ? thread->window_ns - ahead_ns : 0);
    timer_set(thread->loop, &thread->edge, thread->window_ns);
    timer_set(thread->loop, &thread->scan, thread->start_ns);
    uint64_t now_ns = clock_now_ns();
    for (uint32_t i = 0; i < thread->slot_count; i++) {
        struct slot *slot = &thread->slots[i];
        if (slot->idle || !slot->open)
            continue;
        if (crew->open_loop)
            requests_make_available(slot, now_ns);
        else
            requests_ask_all(slot, now_ns);
    }
    if (crew->open_loop)
        requests_send_due(thread, now_ns);
}

/* Adding up, freeing memory and ending a process take milliseconds, which are others' if their last
 * turns are not over yet. */
static void let_others_finish(const struct turns *turns) {
    uint64_t round_ns = turns->count * turns->length_ns;
    struct timespec round = {.tv_sec = (time_t)(round_ns / NS_PER_S),
                             .tv_nsec = (long)(round_ns % NS_PER_S)};
    if (round_ns > 0)
        nanosleep(&round, NULL);
}

void *generator_thread(void *data) {
    struct thread *thread = data;
    struct crew *crew = thread->crew;
    struct error error = {.text = ""};
    int failure = set_up(thread, &error);
    if (failure) {
        pthread_mutex_lock(&crew->lock);
        crew->result->failure = error;
        pthread_mutex_unlock(&crew->lock);
        atomic_store(&crew->failed, true);
        thread->failure = failure;
    } else {
        thread->start_ns = clock_now_ns();
        timer_set(thread->loop, &thread->scan, thread->start_ns);
        connections_start(thread);
        loop_run(thread->loop);
    }
    pthread_barrier_wait(&crew->barrier);
    if (thread->number == 0)
        crew->start_ns = clock_now_ns() + START_DELAY_NS;
    pthread_barrier_wait(&crew->barrier);
    if (!atomic_load(&crew->failed)) {
        start_asking(thread);
        loop_run(thread->loop);
        let_others_finish(&crew->plan->turns);
        if (crew->open_loop && !thread->failure) {
            count_due(thread); /* a walk for Poisson: not while answers are on their way */
            requests_record_leftovers(thread);
        }
        crew_close_intervals(thread);
    }
    thread->all_closed = !thread->client || connections_close_all(thread);
    return NULL;
}
