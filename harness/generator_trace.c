/* generator_trace.c: a generator that keeps a trace notices when it stood still (load_trace.h). */
#include "harness/generator.h"
#include "loops/monitor.h"

/* What was due or came meanwhile is late, too: the standstill goes on until all that is done. */
void generator_trace_looked(struct thread *thread, uint64_t now_ns) {
    struct generator_trace *trace = &thread->trace;
    uint64_t before_ns = trace->looked_ns;
    trace->looked_ns = now_ns;
    if (before_ns == 0 || now_ns - before_ns < LOAD_TRACE_STANDSTILL_LEAST_NS)
        return;
    if (!trace->still.from_ns)
        trace->still.from_ns = before_ns;
    trace->still.still_ns += now_ns - before_ns;
}

void generator_trace_answer(struct thread *thread, const struct asked *asked, uint64_t now_ns) {
    if (asked->number < LOAD_TRACE_REQUESTS)
        thread->trace.kept->requests[asked->number] =
            (struct load_trace_request){.sent_ns = asked->sent_ns, .answered_ns = now_ns};
}

static void keep_standstill(struct generator_trace *trace, uint64_t now_ns) {
    struct load_trace *kept = trace->kept;
    trace->still.to_ns = now_ns;
    if (kept->standstill_count < LOAD_TRACE_STANDSTILLS)
        kept->standstills[kept->standstill_count++] = trace->still;
    trace->still = (struct load_trace_standstill){0};
}

/* A pass without events found nothing to do. */
static void passed(void *data, const struct pass_times *pass) {
    struct thread *thread = data;
    struct generator_trace *trace = &thread->trace;
    const struct loop_counters *counters = loop_counters(thread->loop);
    uint64_t now_ns = clock_now_ns(), work = counters->events + counters->timers_fired;
    (void)pass;
    bool idle = work == trace->work;
    trace->work = work;
    generator_trace_looked(thread, now_ns);
    if (trace->still.from_ns && idle)
        keep_standstill(trace, now_ns);
}

int generator_trace_begin(struct thread *thread) {
    struct monitor_events events = {.on_pass = passed};
    thread->trace.kept = thread->crew->plan->trace;
    return thread->trace.kept ? loop_monitor(thread->loop, NULL, &events, thread) : 0;
}
