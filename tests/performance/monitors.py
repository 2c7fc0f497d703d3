"""monitors.py LOOPMARK [--monitors NAME,…] [--blocks N] [--requests N] [--connections N]
[--loop NAME] [--json]: what each monitor of a loop costs, in CPU time per request of an echo
server.

Each is beside two servers without monitors, `off` and `same`: what differs between these is luck.
All of them are on CPU 0, their generators on CPU 1, closed loop, 1 KiB. The generators take turns
of 25 ms in random order, the others stopped (SIGSTOP), so what changes the machine changes it for
all; and in each block all processes are new, so that a lucky place in memory is no monitor's merit.
The servers are never stopped: what a monitor does every now and then counts for the time of all
turns, three times for one, so its cost is told too high rather than too low.

CPU time is the kernel's (schedstat) from before the first connection until the last answer, over
the requests that were asked for: the generator has to say that it had an answer to each. What it
asked in its first 2 ms, before it counts, is in the time too: half a percent at most, for all
alike.

Prints a table: medians, and ratios to `off` with their 95 % interval between blocks (signed-rank,
as in ratios.py); with --json: monitor -> server -> ratio.

Exit status 1: a server or generator failed."""
import argparse
import contextlib
import json
import os
import random
import re
import select
import signal
import statistics
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "accuracy"))
from ratios import ratio  # noqa: E402
from turns import TURN_S, TurnTaker  # noqa: E402

MONITORS = ("lag", "saturation", "callbacks", "passes", "tasks")
BYTES = 1024
START_TIMEOUT_S = 20


class Server:
    """It listens when this returns."""

    def __init__(self, program, loop, monitor):
        command = ["taskset", "-c", "0", program, "serve", "--loop", loop, "--workload", "echo",
                   "--listen", "127.0.0.1:0"]
        if monitor:
            command.append(f"--monitor={monitor}")
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True,
                                        stderr=subprocess.DEVNULL)
        ready = select.select([self.process.stdout], [], [], START_TIMEOUT_S)[0]
        found = re.search(r"127\.0\.0\.1:\d+", self.process.stdout.readline()) if ready else None
        if not found:
            self.end()
            raise SystemExit("a server does not listen")
        self.address = found[0]

    def cpu_now_ns(self):
        total_ns = 0
        threads = f"/proc/{self.process.pid}/task"
        for thread in os.listdir(threads):
            with open(f"{threads}/{thread}/schedstat", encoding="ascii") as file:
                total_ns += int(file.read().split()[0])
        return total_ns

    def end(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


class Contender:
    """A server and its generator."""

    def __init__(self, name, options, server):
        self.name = name
        self.requests = options.requests
        self.server = server
        self.began_ns = self.server.cpu_now_ns()
        self.output = tempfile.TemporaryFile("w+")
        self.generator = TurnTaker(
            name, [options.loopmark, "load", f"tcp://{self.server.address}", "-c",
                   str(options.connections), "-n", str(options.requests), "--set",
                   f"size_bytes={BYTES}", "--warmup", "0s", "--timeout", "60s", "--quiet",
                   "--json"], self.output)

    def take_turn(self):
        """False: it has ended."""
        return self.generator.run()

    def cpu_us(self):
        """A request, after the last turn."""
        used_ns = self.server.cpu_now_ns() - self.began_ns
        self.output.seek(0)
        text = self.output.read()
        try:
            load = json.loads(text)
        except ValueError:
            raise SystemExit(f"{self.name}: the generator says: {text[-300:]}") from None
        if load["requests"] != self.requests or sum(load["errors"].values()) != 0:
            raise SystemExit(f"{self.name}: {load['requests']} answers to {self.requests} requests")
        return used_ns / 1e3 / self.requests

    def end(self):
        self.generator.end()
        self.output.close()


def measure_block(options, monitor):
    """name -> CPU µs per request."""
    contenders, took_us = [], {}
    with contextlib.ExitStack() as at_the_end:
        for name in ("off", "same", monitor):
            server = Server(options.loopmark, options.loop, monitor if name == monitor else None)
            at_the_end.callback(server.end)
            contenders.append(Contender(name, options, server))
            at_the_end.callback(contenders[-1].end)
        running = [contender for contender in contenders if contender.take_turn()]
        while running:
            running = [contender for contender in random.sample(running, len(running))
                       if contender.take_turn()]
        for contender in contenders:
            took_us[contender.name] = contender.cpu_us()
    return took_us


def print_table(options, measured):
    print(f"echo of {BYTES} bytes on {options.loop}, CPU 0; the generators on CPU 1, closed loop, "
          f"{options.connections} connections, in turns of {TURN_S * 1e3:.0f} ms;\nmedians of "
          f"{options.blocks} blocks of {options.requests:,} requests each\n")
    print("| monitor | off: CPU µs/request | same ÷ off | monitor ÷ off |")
    print("|---|---:|---:|---:|")
    for monitor, blocks in measured.items():
        off = statistics.median(block["off"] for block in blocks)
        cells = []
        for name in ("same", monitor):
            found = ratio([(block[name], block["off"]) for block in blocks], 0.05)
            cells.append(f"{found['estimate']:.4f} ({found['low']:.4f} to {found['high']:.4f})")
        print(f"| {monitor} | {off:.2f} | {cells[0]} | {cells[1]} |")


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that all is ended
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("loopmark")
    parser.add_argument("--monitors", default=",".join(MONITORS))
    parser.add_argument("--blocks", type=int, default=60)
    parser.add_argument("--requests", type=int, default=40000)
    parser.add_argument("--connections", type=int, default=10)
    parser.add_argument("--loop", default="epoll")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    os.sched_setaffinity(0, {1})  # it works while the generators stand still
    measured = {monitor: [] for monitor in options.monitors.split(",")}
    for block in range(options.blocks):
        for monitor, blocks in measured.items():
            blocks.append(measure_block(options, monitor))
        if not options.json:
            print(f"block {block + 1} of {options.blocks}", file=sys.stderr)
    if options.json:
        print(json.dumps({
            monitor: {name: ratio([(block[name], block["off"]) for block in blocks])
                      for name in ("same", monitor)}
            for monitor, blocks in measured.items()}))
    else:
        print_table(options, measured)
    return 0


if __name__ == "__main__":
    sys.exit(main())
