/* generator.h: the threads that make a load; shared by the generator_*.c files only.
 *
 * One thread owns one loop, its share of the connections and its part of the schedule. A request is
 * due by the schedule alone; it leaves on the connection idle longest, or, when none is idle, as
 * soon as one is. Its response time counts from when it was due, so a stalled server cannot hide
 * its stall.
 *
 * Phases: connect everything -> warm-up -> window -> drain -> over, in which everything is closed.
 *
 *   generator.c              a thread's life: phases and the marks on the window's edges
 *   generator_requests.c     which request leaves when and where; answers and their times
 *   generator_connections.c  connecting, connecting again, timeouts, is the server still there
 *   generator_trace.c        when it stood still, where that is asked for
 *   generator_crew.c         hiring threads, the seconds of each, the common result */
#ifndef LOOPMARK_GENERATOR_H
#define LOOPMARK_GENERATOR_H

#include <pthread.h>
#include <sys/resource.h>

#include "harness/load.h"

enum phase { PHASE_CONNECT, PHASE_WARMUP, PHASE_WINDOW, PHASE_DRAIN, PHASE_OVER };

struct asked {
    uint64_t intended_ns, sent_ns;
    uint32_t number; /* in the order of asking */
    bool in_window;
};

/* A connection, whether open at the moment or not. */
struct slot {
    struct thread *thread;
    void *connection;      /* the client's; null: closed */
    bool idle;             /* never asks: only there to be open */
    bool open, failed;     /* failed: its error is counted already */
    bool recycling;        /* closed on purpose: it connects again at once and goes on */
    bool available;        /* in the list of those that may ask */
    struct slot *previous, *next;
    uint64_t available_ns; /* since when it may ask */
    uint64_t since_ns;     /* began to connect */
    uint64_t backoff_ns;
    struct timer retry;
    uint64_t answers;    /* in the window */
    uint32_t asked_here; /* requests on this connection */
    uint32_t first, outstanding;
    struct asked *asked; /* ring of in_flight */
};

/* Of a load that keeps one (load_trace.h). */
struct generator_trace {
    struct load_trace *kept; /* null: none */
    uint64_t looked_ns;      /* at the clock, last; 0: not yet */
    uint64_t work;           /* events and timers of the loop, up to its last pass */
    struct load_trace_standstill still; /* that goes on; from 0: none does */
};

struct own_usage {
    uint64_t cpu_ns, spin_ns, answers;
    struct cpu_wait cpu_wait;
    struct rusage kernel;
};

struct thread {
    struct crew *crew;
    uint32_t number;
    pthread_t id;
    struct loop *loop;
    struct client *client;
    struct slot *slots;
    uint32_t slot_count, slots_started, connecting, open_count;
    struct slot *first_available, *last_available;

    enum phase phase;
    uint64_t start_ns, window_ns, end_ns; /* absolute: start, planned window's start and end */
    uint64_t opened_ns, closed_ns;        /* when the window really began and ended */
    struct schedule schedule;
    uint64_t own_start_ns; /* start_ns in own time: the schedule counts from there */
    uint64_t quota; /* requests left to measure (-n); 0 with no_quota */
    bool has_quota;
    struct timer due, mark, edge, scan, interval_end, connection_due;
    uint32_t scan_put_off; /* for so many passes, as it was late */
    uint64_t none_open_since_ns;
    int connect_error; /* of the latest attempt that failed, negative; 0: none has */
    char connect_what[LOAD_WHAT_BYTES]; /* more about it, or empty */

    struct recorder service, lag;  /* open loop */
    struct recorder connect_times; /* of the window */
    struct recorder status[LOAD_STATUS_CLASSES];
    bool has_statuses;
    struct interval_ring *latency; /* second by second: response times, or in a closed loop service
                                    * times; shared with whoever started the load */
    struct generator_trace trace;
    uint32_t seconds;              /* ended so far */
    uint32_t asked;                /* requests, warm-up included */
    uint64_t due_count, sent_count, in_window_outstanding, unsent, shed; /* of the window */
    _Atomic uint64_t answers; /* warm-up included; other threads read it at marks */
    uint64_t answers_in_window, received_bytes;
    uint64_t errors[LOAD_ERRORS], reconnects;
    struct load_lookups lookups; /* of the window */
    struct load_cause causes[LOAD_CAUSES_MOST];
    uint32_t cause_count;
    struct own_usage before, after;
    int failure;
    bool all_closed; /* at the end; otherwise its loop and client are left as they are */
};

/* What the threads share. */
struct crew {
    const struct load_plan *plan;
    struct load_result *result;
    struct url url;
    const char *looked_up;       /* the host name, for each connection; null: it was, once */
    struct interval_ring *rings; /* one a thread */
    atomic_bool *stopping;
    struct thread *threads;
    uint32_t thread_count, in_flight, requests_per_connection; /* the last: 0 is no limit */
    int error_status; /* the first that counts as an error */
    bool open_loop;
    uint64_t warmup_ns, duration_ns, timeout_ns, connect_timeout_ns;
    uint64_t deadline_ns, connection_ramp_ns; /* 0: none */
    uint32_t source_count;
    struct endpoint *sources;
    pthread_barrier_t barrier;
    uint64_t start_ns;
    atomic_bool failed;
    pthread_mutex_t lock; /* of failure */
};

/* ---- generator.c */
void generator_fail(struct thread *thread,
                    const char *what);             /* ends the load, with what as the reason */
void generator_begin_drain(struct thread *thread); /* no effect outside the window */
void generator_stop_early(struct thread *thread);
void *generator_thread(void *thread);
/* The absolute time of an offset from the start, which is in own time (turns.h). */
uint64_t generator_time_ns(const struct thread *thread, uint64_t offset_ns);

/* ---- generator_requests.c */
extern const struct client_events generator_events;
void requests_make_available(struct slot *slot, uint64_t now_ns);
void requests_make_unavailable(struct slot *slot);
void requests_ask_all(struct slot *slot,
                      uint64_t now_ns); /* closed loop: as many as may be in flight */
/* On a new connection: what its predecessor took with it unanswered. */
void requests_ask_again(struct slot *slot, uint64_t now_ns);
/* Open loop: sends what is due as far as connections take it. Ends the drain when nothing is left.
 */
void requests_send_due(struct thread *thread, uint64_t now_ns);
void requests_on_due(struct timer *timer);
/* A request that never was answered still has a time, or a failing server would look fast: at least
 * the timeout, however soon it failed. */
void requests_record_lost(struct thread *thread, const struct asked *asked, uint64_t now_ns);
/* At the end of the drain: what is still outstanding or was never sent. */
void requests_record_leftovers(struct thread *thread);

/* ---- generator_connections.c */
void connections_opened(void *slot);
void connections_closed(void *slot, const struct client_end *end);
void connections_start(struct thread *thread); /* as many as may connect now */
void connections_on_due(struct timer *timer);
void connections_on_retry(struct timer *timer);
void connections_on_scan(struct timer *timer);
/* Of `cause`, `count` is not looked at. */
void connections_count_error(struct thread *thread, enum load_error kind, uint64_t count,
                             const struct load_cause *cause);
/* Closes a connection for a reason that is counted here and not again when it has closed. */
void connections_give_up(struct slot *slot, enum load_error kind, uint64_t count,
                         const struct load_cause *cause);
enum load_error connections_error_kind(int err);
/* Closes a connection that has done what it should; a new one goes on with what is unanswered. */
void connections_recycle(struct slot *slot);
/* The thread is over: closes what is open, and lets the loop run until it is. False: not all of it
 * would close. */
bool connections_close_all(struct thread *thread);

/* ---- generator_trace.c */
int generator_trace_begin(struct thread *thread); /* nothing where no trace is kept */
void generator_trace_looked(struct thread *thread, uint64_t now_ns);
void generator_trace_answer(struct thread *thread, const struct asked *asked, uint64_t now_ns);
/* Wherever a request is handled. */
static inline uint64_t generator_now_ns(struct thread *thread) {
    uint64_t now_ns = clock_now_ns();
    if (__builtin_expect(thread->trace.kept != NULL, 0))
        generator_trace_looked(thread, now_ns);
    return now_ns;
}

/* ---- generator_crew.c */
void crew_on_interval(struct timer *timer);
void crew_begin_intervals(struct thread *thread); /* at the window's start */
void crew_end_intervals(struct thread *thread);   /* at its end: the last one is shorter */
void crew_close_intervals(struct thread *thread); /* at the drain's end */
uint64_t crew_answers(const struct crew *crew);

#endif
