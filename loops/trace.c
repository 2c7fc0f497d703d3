/* trace.c: see trace.h.
 *
 * What tracing costs is the clock, which is therefore that of ticks. */
#include <errno.h>
#include <stdlib.h>

#include "backend.h"
#include "monitor.h"

#define ADJUST_NS (10 * NS_PER_MS) /* so often the ticks are looked at, or a jump stays unseen */

/* What every task needs is together. */
struct slot {
    uint64_t begun;     /* in ticks, as the times of its steps are */
    uint32_t next_free; /* its number + 1; 0: the last */
    bool live;
    struct traced_task task; /* its times and end are filled for a report */
    uint64_t steps[TRACE_STEPS];
};

struct trace {
    struct trace_counts counts;
    uint64_t slow_ns, slow_ticks; /* what takes fewer is not slow */
    uint64_t adjusted, adjust_ticks; /* when, and how often at least */
    void (*on_slow)(void *data, const struct traced_task *task);
    void *data;
    uint32_t size, used; /* slots; those never used lie behind `used` */
    uint32_t free;       /* number + 1 of the slot that was left last, which is warm in the cache */
    struct slot slots[];
};

int trace_open(struct loop *loop, const struct monitor_config *config,
               const struct monitor_events *events, void *data) {
    uint32_t size = config->tasks ? config->tasks : TRACE_TASKS;
    struct trace *trace = calloc(1, sizeof *trace + size * sizeof trace->slots[0]);
    if (!trace)
        return -ENOMEM;
    trace->slow_ns = config->slow_task_ns ? config->slow_task_ns : MONITOR_SLOW_TASK_NS;
    trace->slow_ticks = ticks_within_ns(&loop->ticks, trace->slow_ns);
    trace->adjusted = ticks_now(&loop->ticks);
    trace->adjust_ticks = ticks_within_ns(&loop->ticks, ADJUST_NS);
    trace->on_slow = events->on_slow_task;
    trace->data = data;
    trace->size = size;
    loop->trace = trace;
    return 0;
}

/* It may have begun by a time that was read late. */
static uint64_t since_begun(const struct slot *slot, uint64_t at) {
    return at > slot->begun ? at - slot->begun : 0;
}

static void report_if_slow(struct loop *loop, struct slot *slot, uint64_t lasted,
                           const char *end) {
    struct trace *trace = loop->trace;
    struct traced_task *task = &slot->task;
    task->lasted_ns = ticks_to_ns(&loop->ticks, lasted);
    if (task->lasted_ns < trace->slow_ns)
        return;
    for (uint32_t i = 0; i < task->step_count && i < TRACE_STEPS; i++)
        task->steps[i].at_ns = ticks_to_ns(&loop->ticks, slot->steps[i]);
    task->end = end;
    trace->counts.slow++;
    trace->on_slow(trace->data, task);
}

void trace_close(struct loop *loop) {
    struct trace *trace = loop->trace;
    if (!trace)
        return;
    if (loop->monitor)
        monitor_adjusts(loop);
    uint64_t at = ticks_now(&loop->ticks);
    for (uint32_t i = 0; i < trace->used; i++)
        if (trace->slots[i].live)
            report_if_slow(loop, &trace->slots[i], since_begun(&trace->slots[i], at), NULL);
    loop->trace = NULL;
    free(trace);
}

void trace_begins_anew(struct loop *loop, uint64_t at) {
    struct trace *trace = loop->trace;
    for (uint32_t i = 0; trace && i < trace->used; i++)
        trace->slots[i].begun = at;
}

bool loop_traces(const struct loop *loop) {
    return loop->trace != NULL;
}

const struct trace_counts *trace_counts(const struct loop *loop) {
    return loop->trace ? &loop->trace->counts : NULL;
}

/* A number outlives its task when tracing ends in between. */
static struct slot *slot_of(struct loop *loop, uint32_t number) {
    struct trace *trace = loop->trace;
    if (number == 0 || !trace || number > trace->used || !trace->slots[number - 1].live)
        return NULL;
    return &trace->slots[number - 1];
}

uint32_t trace_begin(struct loop *loop, const char *name) {
    struct trace *trace = loop->trace;
    if (!trace)
        return 0;
    uint32_t number = trace->free;
    if (number)
        trace->free = trace->slots[number - 1].next_free;
    else if (trace->used < trace->size)
        number = ++trace->used;
    else {
        trace->counts.untraced++;
        return 0;
    }
    struct slot *slot = &trace->slots[number - 1];
    slot->live = true;
    slot->task.name = name;
    slot->begun = loop_entered_ticks(loop);
    slot->task.step_count = 0;
    struct trace_counts *counts = &trace->counts;
    counts->begun++;
    if (++counts->live > counts->live_most)
        counts->live_most = counts->live;
    return number;
}

void trace_step(struct loop *loop, uint32_t number, const char *name) {
    struct slot *slot = slot_of(loop, number);
    if (!slot)
        return;
    struct traced_task *task = &slot->task;
    if (task->step_count < TRACE_STEPS) {
        task->steps[task->step_count].name = name;
        slot->steps[task->step_count] = since_begun(slot, ticks_now(&loop->ticks));
    }
    task->step_count++;
}

/* It was slow, or the ticks are to be looked at. */
static void look_closer(struct loop *loop, struct slot *slot, uint64_t lasted, const char *end) {
    struct trace *trace = loop->trace;
    bool known = monitor_adjusts(loop);
    trace->adjusted = ticks_now(&loop->ticks);
    if (known && lasted >= trace->slow_ticks)
        report_if_slow(loop, slot, lasted, end);
}

void trace_end(struct loop *loop, uint32_t number, const char *end) {
    struct slot *slot = slot_of(loop, number);
    if (!slot)
        return;
    struct trace *trace = loop->trace;
    trace->counts.ended++;
    trace->counts.live--;
    uint64_t at = ticks_now(&loop->ticks), lasted = since_begun(slot, at);
    if (lasted >= trace->slow_ticks || at - trace->adjusted > trace->adjust_ticks)
        look_closer(loop, slot, lasted, end);
    slot->live = false;
    slot->next_free = trace->free;
    trace->free = number;
}
