"""stall.py PID AFTER_S FOR_S: stops a process once; prints as JSON how long it really was.

Also what such a stop must do to response times, for those who measured some (implied_ns)."""
import json
import os
import signal
import sys
import time

DRAIN_S = 1  # the longest that working off what has waited takes


def state(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        return file.read().rpartition(")")[2].split()[0]


def stop(pid, after_s, for_s):
    """From telling it to stop to telling it to go on; it was seen stopped seen_ns after the former.

    With SIGSTOP pending it does nothing more of its own, wherever it is: signal(7). So it has
    stopped when it was told to, though it takes its CPU once more to be seen so.

    All this is on the server's CPU, free meanwhile: the generator's is not to be disturbed. And it
    sleeps on, since what it did next would keep the server from working off what has waited."""
    os.sched_setaffinity(0, os.sched_getaffinity(pid))
    time.sleep(after_s)
    stopping_ns = time.monotonic_ns()
    os.kill(pid, signal.SIGSTOP)
    try:
        while state(pid) != "T":
            time.sleep(1e-5)
        seen_ns = time.monotonic_ns()
        time.sleep(for_s)
    finally:
        continuing_ns = time.monotonic_ns()
        os.kill(pid, signal.SIGCONT)
    time.sleep(DRAIN_S)
    return {"stopped_ns": continuing_ns - stopping_ns, "seen_ns": seen_ns - stopping_ns}


def implied_ns(quantile, stopped_ns, window_ns, rate, drain_rate):
    """The quantile of response times when requests come at a constant rate over a window, and for a
    part of it the server stands still.

    Who comes x after the stop waits for its end and then for those who came before, rate * x of
    them, whom the server works off at drain_rate: stopped - x + x * rate / drain_rate, which falls
    along x until nobody waits any more. The share 1 - quantile with the longest times are those of
    x < (1 - quantile) * window."""
    return stopped_ns - (1 - quantile) * window_ns * (1 - rate / drain_rate)


if __name__ == "__main__":
    print(json.dumps(stop(int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3]))))
