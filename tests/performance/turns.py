"""turns.py: programs that live side by side and run in turns, the others stopped (SIGSTOP).

What changes the machine from second to second then changes it for all of them alike, and their
ratios are of one machine."""
import contextlib
import glob
import os
import select
import signal
import subprocess
import time

TURN_S = 0.025


class TurnTaker:
    """A command on CPU 1, with the processes that it starts. It runs at once, until `stop`."""

    def __init__(self, name, command, output=subprocess.DEVNULL):
        self.name = name
        self.lasted_s = 0  # of its turns, and from its start to the first stop
        self.began_s = time.monotonic()
        self.process = subprocess.Popen(["taskset", "-c", "1"] + command, stdout=output,
                                        stderr=subprocess.STDOUT, start_new_session=True)
        self.ends = os.pidfd_open(self.process.pid)
        self.usage = None  # rusage of all of it when it has ended

    def threads(self):
        """Their folders in /proc, those of its children too."""
        found, pids = [], [str(self.process.pid)]
        while pids:
            for folder in glob.glob(f"/proc/{pids.pop()}/task/*"):
                found.append(folder)
                with open(f"{folder}/children", encoding="ascii") as file:
                    pids += file.read().split()
        return found

    def cpu_now_s(self):
        total_ns = 0
        for folder in self.threads():
            with open(f"{folder}/schedstat", encoding="ascii") as file:
                total_ns += int(file.read().split()[0])
        return total_ns / 1e9

    def stands_still(self):
        for folder in self.threads():
            with open(f"{folder}/stat", encoding="ascii") as file:
                if file.read().rpartition(") ")[2][0] not in "TZX":  # stopped, or at its end
                    return False
        return True

    def run(self, seconds=TURN_S):
        """A turn; false: it has ended. The first is the one that it has begun with."""
        if self.lasted_s:
            self.began_s = time.monotonic()
            os.killpg(self.process.pid, signal.SIGCONT)
        ended = select.select([self.ends], [], [], seconds)[0]
        if not ended:
            self.stop()
        self.lasted_s += time.monotonic() - self.began_s
        if ended:
            _, status, self.usage = os.wait4(self.process.pid, 0)
            self.process.returncode = os.waitstatus_to_exitcode(status)
        return not ended

    def stop(self):
        """Returns when all of it stands still."""
        os.killpg(self.process.pid, signal.SIGSTOP)
        for _ in range(10000):
            if self.stands_still():
                return
            time.sleep(0.0001)
        raise SystemExit(f"{self.name} does not stop")

    def end(self):
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        os.close(self.ends)
