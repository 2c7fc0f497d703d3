/* load.h: one load against one server: the plan, and what came of it.
 *
 * The load is made by a process of its own (pinned, timer slack 1 ns), so that its CPU time is its
 * own; it writes the result into memory shared with the caller. */
#ifndef LOOPMARK_LOAD_H
#define LOOPMARK_LOAD_H

#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "harness/control.h"
#include "harness/interval.h"
#include "harness/load_trace.h"
#include "harness/schedule.h"
#include "harness/turns.h"
#include "harness/usage.h"
#include "loops/endpoint.h"
#include "loops/error.h"
#include "loops/loop.h"
#include "loops/tls.h"
#include "workloads/workload.h"

struct load_plan {
    const struct workload *workload;
    struct knob_values knobs; /* the workload's and load_knobs */
    struct endpoint target;
    const struct url *url;                 /* of the target; null: its address says it all */
    const struct request_set *request_set; /* what to ask for; null: the workload's own */
    const struct tls_client_options *tls;  /* as in client_setup */
    const struct endpoint *sources;        /* connect from these in turn; null: see load_knobs */
    uint32_t source_count;
    bool verify;       /* check every byte of every answer */
    bool no_spin;      /* open loop: sleep until a request is due instead of polling */
    uint64_t requests; /* measure this many instead of `duration`; 0: by time */
    uint64_t seed;     /* of Poisson arrivals */
    struct turns turns; /* open loop: with other loads; its times below are then of its own turns */
    cpu_set_t cpus;    /* where the generator may run; empty: anywhere */
    cpu_set_t
        watched_cpus; /* whose steal time counts: the server's and the generator's; empty: all */
    cpu_set_t kept_awake; /* by whoever starts the load (keep_awake.h); for the record */
    pid_t server_pid; /* whose CPU time is read at the window's ends; 0: nobody's */
    struct load_trace *trace; /* open loop of one thread: what to keep there; null: nothing is */
    int control_fd;   /* of our own server, for its counters (control.h); -1: none */
    /* What works for the server, threads of its own or a database, shares its CPUs: that its loop
     * waits for them does not mean that others took them. */
    bool server_waits_for_its_own;
    bool server_has_threads; /* the same of threads alone: its CPUs are full when they are */
    /* Told of each interval, in load_wait; may be null. The last one can be `late`: answers that
     * came after the window, to requests that were due in it. */
    void (*on_interval)(void *data, const struct latency_interval *interval);
    void *on_interval_data;
};

enum load_error {
    LOAD_CONNECT,
    LOAD_CONNECT_TIMEOUT,
    LOAD_TIMEOUT,
    LOAD_RESET,
    LOAD_CLOSED,
    LOAD_WRONG_ANSWER,
    LOAD_PARSE,  /* not of the protocol */
    LOAD_STATUS, /* answered, with a status that the knob status_errors calls an error */
    LOAD_DATABASE, /* answered by a database, with an error */
    LOAD_OTHER,
    LOAD_ERRORS
};
extern const char *const load_error_names[LOAD_ERRORS];

/* All but those answered with a status that is an error. */
uint64_t load_failures(const uint64_t errors[LOAD_ERRORS]);

/* What was being done when it went wrong; the first five are those of enum client_step. */
enum load_phase {
    LOAD_PHASE_CONNECT,
    LOAD_PHASE_SEND,
    LOAD_PHASE_RECEIVE,
    LOAD_PHASE_PARSE,
    LOAD_PHASE_CLOSE,
    LOAD_PHASE_TIMEOUT,
    LOAD_PHASES
};
extern const char *const load_phase_names[LOAD_PHASES];

/* Errors told apart by phase, errno and what else is known. */
enum { LOAD_WHAT_BYTES = 192 };
struct load_cause {
    enum load_phase phase;
    int err;                    /* negative errno */
    char what[LOAD_WHAT_BYTES]; /* ASCII; empty: nothing else is known */
    uint64_t count;
};
enum { LOAD_CAUSES_MOST = 24 }; /* further ones are only in `errors` */

/* `what`, which may be null, is cut to fit; other bytes than those of printed ASCII become `?`. */
struct load_cause load_cause(enum load_phase phase, int err, const char *what);

/* Adds to the cause that is alike, or a new one while there is room. */
void load_add_cause(struct load_cause *causes, uint32_t *used, const struct load_cause *cause);

enum { LOAD_STATUS_CLASSES = 5 }; /* 1xx to 5xx */

/* Look-ups of the server's host name. */
struct load_lookups {
    uint64_t count, total_ns, longest_ns;
};

struct load_interval {
    uint64_t at_ns; /* its end, from the start of the window */
    uint64_t length_ns;
    uint64_t requests, errors;
    uint64_t p50_ns, p99_ns; /* 0: not enough samples */
};
enum { LOAD_INTERVALS_MOST = 3700 };

/* Of a thread, since it began: how long it could run and had no CPU, and how often it got one. */
struct cpu_wait {
    uint64_t ns, turns;
};

/* A reading of the server: cheap (CPU time) and thorough, each with the answers counted until then,
 * so that neither is divided by requests of another window. */
struct server_mark {
    uint64_t cpu_ns;
    uint64_t at_ns;      /* when that was */
    uint64_t answers;    /* by then, warm-up included; all threads */
    struct cpu_wait cpu_wait; /* of its first thread */
    bool cpu_known;
    struct usage usage;
    bool usage_known;
    struct loop_counters counters;
    bool counters_known;
    struct control_workload workload; /* none, where nothing is known */
    uint64_t thorough_answers; /* by then, warm-up included; all threads */
};

struct load_result {
    bool finished; /* the generator came to its end; otherwise `failure` says why not */
    struct error failure;
    bool interrupted; /* ended early by load_stop */
    bool open_loop;
    uint64_t window_ns;  /* measured, mean over threads; of turns, the own ones */
    double offered_rate; /* open loop: due in the window by the schedule's own count ÷ window */
    double achieved_rate;
    uint64_t due, sent; /* open loop: requests of the window, and how many of them left within it */
    uint64_t unsent;    /* due in the window and never sent */
    uint64_t shed;      /* of these: given up at the deadline */
    uint64_t requests;  /* answered, of the window */
    uint64_t errors[LOAD_ERRORS]; /* warm-up included, but for LOAD_STATUS */
    struct load_cause causes[LOAD_CAUSES_MOST];
    uint32_t cause_count;
    bool has_statuses;                            /* an answer had one */
    struct histogram status[LOAD_STATUS_CLASSES]; /* times of answers, as load_latency's */
    struct histogram connect;                     /* until a connection was open */
    uint64_t reconnects; /* connections ended as the protocol has it, and opened again */
    struct load_lookups lookups; /* resolve = connection: those of the window */
    uint64_t received_bytes;
    struct histogram response, service, lag; /* closed loop: only service; load_latency */
    uint32_t connections, threads;
    uint32_t asking_connections; /* 0: nothing is known of the next three */
    uint64_t slowest_connection, median_connection, fastest_connection; /* answers in the window */
    uint64_t answers;         /* that came within the window, whenever they were asked for */
    uint64_t cpu_ns, user_ns; /* all threads, within the window, spinning included */
    uint64_t spin_ns;
    uint64_t context_switches;
    uint64_t starved_ns; /* of the window, runnable without a CPU; the worst thread */
    uint64_t waiting_ns; /* closed loop: how long the oldest request open at the end had waited */
    double busy;         /* of the busiest thread: CPU time without spinning ÷ window */
    struct server_mark before, after;
    struct host_cpu host_before, host_after;
    bool host_known;
    struct socket_options socket; /* as read back from one connection */
    bool socket_known;
    struct tls_agreed tls; /* of the same one; its words are static, as causes' are */
    bool tls_known;
    _Atomic uint32_t connected;        /* so far, for the progress display */
    _Atomic uint64_t window_opened_ns; /* CLOCK_MONOTONIC; 0: not yet */
    /* Filled by load_wait while the load runs. */
    struct load_interval intervals[LOAD_INTERVALS_MOST];
    uint32_t interval_count;
};

struct load; /* a load under way */

/* Starts the generator's process. The result can be looked at (intervals) while it runs. */
int load_start(const struct load_plan *plan, struct load **load, struct error *error);
const struct load_result *load_result(const struct load *load);
/* Waits at most timeout_ms (negative: until the end) and says if the load has ended. To be called
 * at least every few seconds: it fetches the intervals, which get longer if they are not. */
bool load_wait(struct load *load, int timeout_ms);
/* Asks it to end now and report what it has; it ends within about half a second. */
void load_stop(struct load *load);
/* Kills it if it still runs, and frees everything, the result too. */
void load_free(struct load *load);

/* The times that a load is judged by: response times, in a closed loop service times. */
const struct histogram *load_latency(const struct load_result *result);

/* How long a thread wanted a CPU between two readings and had none. Where CPUs are kept awake
 * (keep_awake.h), 10 us for each time that it got one are no lack of it: so long, and really 3 to 6
 * us on a virtual machine, may their keeper take to be put aside. */
uint64_t load_starved_ns(const struct load_plan *plan, const struct cpu_wait *before,
                         const struct cpu_wait *after);

/* ---- for load.c and generator.c ----------------------------------------------------------------
 */

/* In the generator's process: runs all threads to the end and fills `result`, but for the times
 * that go through the rings, one a thread. `stopping` is set by load_stop. */
void generator_run(const struct load_plan *plan, struct load_result *result,
                   struct interval_ring *rings, atomic_bool *stopping);

#endif
