"""stall.py PID AFTER_S FOR_S: stops a process once; prints as JSON how long it really was."""
import json
import os
import signal
import sys
import time


def state(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        return file.read().rpartition(")")[2].split()[0]


def main():
    pid, after_s, for_s = int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
    time.sleep(after_s)
    os.kill(pid, signal.SIGSTOP)
    try:
        while state(pid) != "T":
            pass
        stopped_ns = time.monotonic_ns()
        time.sleep(for_s)
    finally:
        continued_ns = time.monotonic_ns()
        os.kill(pid, signal.SIGCONT)
    print(json.dumps({"stopped_ns": continued_ns - stopped_ns}))


main()
