/* trace.c: see trace.h. */
#include <errno.h>
#include <stdlib.h>

#include "backend.h"
#include "monitor.h"

struct slot {
    struct traced_task task; /* lasted_ns and end are filled for a report */
    uint32_t next_free;      /* its number + 1; 0: the last */
    bool live;
};

struct trace {
    struct trace_counts counts;
    uint64_t slow_ns;
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
    trace->on_slow = events->on_slow_task;
    trace->data = data;
    trace->size = size;
    loop->trace = trace;
    return 0;
}

static void report_if_slow(struct trace *trace, struct traced_task *task, const char *end) {
    uint64_t now_ns = clock_now_ns();
    /* It may have begun by a time that was read late. */
    task->lasted_ns = now_ns > task->begun_ns ? now_ns - task->begun_ns : 0;
    if (task->lasted_ns < trace->slow_ns)
        return;
    task->end = end;
    trace->counts.slow++;
    trace->on_slow(trace->data, task);
}

void trace_close(struct loop *loop) {
    struct trace *trace = loop->trace;
    if (!trace)
        return;
    for (uint32_t i = 0; i < trace->used; i++)
        if (trace->slots[i].live)
            report_if_slow(trace, &trace->slots[i].task, NULL);
    loop->trace = NULL;
    free(trace);
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
    slot->task.begun_ns = loop_now_ns(loop);
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
        uint64_t now_ns = clock_now_ns();
        task->steps[task->step_count] = (struct trace_step){
            .name = name, .at_ns = now_ns > task->begun_ns ? now_ns - task->begun_ns : 0};
    }
    task->step_count++;
}

void trace_end(struct loop *loop, uint32_t number, const char *end) {
    struct slot *slot = slot_of(loop, number);
    if (!slot)
        return;
    struct trace *trace = loop->trace;
    trace->counts.ended++;
    trace->counts.live--;
    report_if_slow(trace, &slot->task, end);
    slot->live = false;
    slot->next_free = trace->free;
    trace->free = number;
}
