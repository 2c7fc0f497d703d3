/* environment.h: what a record must say about the machine, and which CPUs a run should use.
 *
 * Everything is read from /proc, /sys and a few system calls; nothing is changed. What cannot be
 * read is null, never an error and never a guess. `root` is "/" but for tests, which give the root
 * of a made-up /proc and /sys; `allowed` is the CPUs this process may use, null: ask the kernel.
 * Any thread. */
#ifndef LOOPMARK_ENVIRONMENT_H
#define LOOPMARK_ENVIRONMENT_H

#include <jansson.h>
#include <sched.h>
#include <stdbool.h>
#include <stddef.h>

#include "loops/error.h"

/* ---- the machine ----------------------------------------------------------------------------- */

/* An object of the caller's (json_decref), or null when memory is out:
 *
 *   date_utc                 "2026-11-20T10:00:00Z"
 *   hostname, machine, kernel    "x86_64", "6.18.5"
 *   cpu_model                "AMD EPYC 7B13"
 *   cpus_online              number of CPUs
 *   cpus_allowed             list, "0,2-3"; cpus_allowed_count and cores_allowed are numbers
 *   threads_per_core         hardware threads of the first allowed CPU's core
 *   hypervisor               true, false; hypervisor_vendor "KVM" and the like
 *   clock_source             "tsc"
 *   governor                 of the allowed CPUs, "mixed" if they differ; null without cpufreq
 *   turbo                    true, false
 *   memory_bytes, load_1m    load average of the last minute, at the time of the call
 *   open_files_soft, open_files_hard, somaxconn
 *   tcp_congestion           the host's default; our sockets set their own
 *   revision, compiler, compiler_flags    of the build
 *   libraries                object: jansson, libc, and a member for each loop built on a library
 *   caption, warnings        of the functions below
 */
json_t *environment_capture(void);
json_t *environment_capture_from(const char *root, const cpu_set_t *allowed);

/* One short line for plots: "2 × AMD EPYC, Linux 6.18, KVM". What is null is left out. */
void environment_caption(const json_t *environment, char *text, size_t size);

/* Says in caption and warnings that the CPUs did not sleep (keep_awake.h). */
void environment_note_kept_awake(json_t *environment);

/* Appends a sentence to `warnings` for each thing about the machine that makes figures less
 * certain. Returns how many. */
size_t environment_warnings(const json_t *environment, json_t *warnings);

/* The first line a command prints (stdout or stderr), such as its version: {"nginx", "-v", NULL}.
 * Found along PATH, not through a shell; stdin is empty, and it is killed after 5 s. `size` is at
 * least 2. `text` is empty on failure: -ENOENT no such program, -ETIMEDOUT, -EIO it failed or
 * printed nothing. Blocks. */
int environment_command_version(const char *const *command, char *text, size_t size);

/* ---- CPUs ------------------------------------------------------------------------------------ */

/* Reads "0,2-3". -EINVAL with `error` filled for anything else, the empty list included. */
int cpu_list_parse(const char *text, cpu_set_t *cpus, struct error *error);
/* The same form back, empty for no CPU; cut after the last number that fits. */
#define CPU_LIST_BYTES 256
void cpu_list_format(const cpu_set_t *cpus, char *text, size_t size);

struct cpu_plan {
    cpu_set_t server, generator;
    bool shared;    /* they compete for a CPU or for a core: measured, but not ranked */
    char text[512]; /* one sentence: who runs where, or why it is shared */
};

/* The server on the first allowed CPU, the generator on the next one of another core, in the same
 * package if there is such a one. With hardware threads of one core alone each gets one of them,
 * with one CPU both get that, and `shared` is set. Where the topology cannot be read, every CPU
 * counts as a core. A negative errno if the affinity cannot be read or is empty. */
int cpu_plan_choose(const char *root, const cpu_set_t *allowed, struct cpu_plan *plan,
                    struct error *error);

/* The same for lists the user gave. -EINVAL: not a list, or a CPU that is not allowed. */
int cpu_plan_given(const char *root, const cpu_set_t *allowed, const char *server,
                   const char *generator, struct cpu_plan *plan, struct error *error);

#endif
