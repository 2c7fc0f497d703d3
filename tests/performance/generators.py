"""generators.py LOOPMARK [--blocks N] [--turns N]: load generators beside each other.

Against nginx with one worker on CPU 0 the generators run on CPU 1, closed loop, with 10 and with
100 connections. A machine whose speed changes from second to second would hide what differs, so
those of a block live side by side and take turns of 25 ms in random order, the others stopped
(SIGSTOP): what changes the machine changes it for all. What counts is between a turn's start and
its end, so starting and stopping is nobody's cost: the answers as nginx counts them (stub_status),
and the CPU time as the kernel does. Nothing is taken from a generator's own word.

Prints a table: medians, and the ratio of loopmark to each other one with its 95 % interval between
blocks (signed-rank, as in ratios.py).

Exit status 1: a generator failed; 2: nginx or wrk is missing."""
import argparse
import contextlib
import http.client
import os
import random
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "accuracy"))
from ratios import ratio  # noqa: E402
from turns import TURN_S, TurnTaker  # noqa: E402

CONNECTIONS = (10, 100)
ANSWER = "hello, world"
START_S = 0.4  # to connect, and for wrk to calibrate
SETTLE_S = 0.001  # nginx answers what was asked for still
LIFE_S = 600  # more than any block takes: it is ended by a signal

CONFIGURATION = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 2048; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
    uwsgi_temp_path {folder}; scgi_temp_path {folder};
    server {{
        listen 127.0.0.1:{port};
        location / {{ return 200 "{answer}"; }}
        location = /status {{ stub_status; }}
    }}
}}
"""

# name -> its command line
GENERATORS = {
    "loopmark": lambda program, url, connections: [
        program, "load", url, "-c", str(connections), "-d", f"{LIFE_S}s", "--warmup", "0s",
        "--quiet"],
    "wrk": lambda program, url, connections: [
        program, "-t1", f"-c{connections}", f"-d{LIFE_S}s", url],
    "h2load": lambda program, url, connections: [
        program, "--h1", "-t1", f"-c{connections}", "-D", str(LIFE_S), url],
}


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@contextlib.contextmanager
def nginx():
    """Its port; it ends with the context."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        port = free_port()
        configuration = os.path.join(folder, "nginx.conf")
        with open(configuration, "w", encoding="utf-8") as file:
            file.write(CONFIGURATION.format(folder=folder, port=port, answer=ANSWER))
        server = subprocess.Popen(["taskset", "-c", "0", "/usr/sbin/nginx", "-p", folder, "-c",
                                   configuration], stderr=subprocess.DEVNULL)
        try:
            for _ in range(200):
                with contextlib.suppress(OSError):
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    break
                time.sleep(0.02)
            else:
                raise SystemExit("nginx does not listen")
            yield port
        finally:
            server.terminate()
            server.wait()


class Answers:
    """What nginx has answered."""

    def __init__(self, port):
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        self.asked = 0

    def count(self):
        self.connection.request("GET", "/status")
        text = self.connection.getresponse().read().decode()
        self.asked += 1  # which it counts too
        return int(re.search(r"(\d+) \nReading", text).group(1)) - self.asked


class Generator(TurnTaker):
    """What nginx has answered it in its turns, and the CPU time of these."""

    def __init__(self, name, command):
        super().__init__(name, command)
        self.answers = self.turns_s = self.cpu_s = 0

    def take_turn(self, answers):
        answered, cpu_s, lasted_s = answers.count(), self.cpu_now_s(), self.lasted_s
        if not self.run():
            raise SystemExit(f"{self.name} ended with {self.process.returncode}")
        self.turns_s += self.lasted_s - lasted_s
        self.cpu_s += self.cpu_now_s() - cpu_s
        time.sleep(SETTLE_S)
        self.answers += answers.count() - answered

    def result(self):
        if self.answers == 0:
            raise SystemExit(f"{self.name}: nginx has answered nothing")
        return {"rate": self.answers / self.turns_s, "cpu_us": self.cpu_s * 1e6 / self.answers}


def measure_block(programs, port, connections, turns):
    """name -> answers per second and CPU µs per answer."""
    url = f"http://127.0.0.1:{port}/"
    answers = Answers(port)
    generators = []
    try:
        for name, program in programs.items():
            generators.append(Generator(name, GENERATORS[name](program, url, connections)))
            generators[-1].run(START_S)
        for _ in range(turns):
            for generator in random.sample(generators, len(generators)):
                generator.take_turn(answers)
        return {generator.name: generator.result() for generator in generators}
    finally:
        for generator in generators:
            generator.end()


def interval(pairs):
    found = ratio(pairs, 0.05)
    return f"{found['estimate']:.3f} ({found['low']:.3f} to {found['high']:.3f})"


def print_table(runs, names, connections):
    print(f"\n{connections} connections: medians of {len(runs)} blocks\n")
    print("| generator | answers/s | CPU µs/answer | loopmark ÷ it: answers/s | CPU per answer |")
    print("|---|---:|---:|---:|---:|")
    for name in names:
        rate = statistics.median(run[name]["rate"] for run in runs)
        cpu = statistics.median(run[name]["cpu_us"] for run in runs)
        ratios = ["", ""] if name == "loopmark" else [
            interval([(run["loopmark"][key], run[name][key]) for run in runs])
            for key in ("rate", "cpu_us")]
        print(f"| {name} | {rate:,.0f} | {cpu:.2f} | {ratios[0]} | {ratios[1]} |")


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that all is ended
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("loopmark")
    parser.add_argument("--blocks", type=int, default=30)
    parser.add_argument("--turns", type=int, default=80)
    options = parser.parse_args()
    programs = {"loopmark": options.loopmark, "wrk": shutil.which("wrk"),
                "h2load": shutil.which("h2load")}
    if not os.path.exists("/usr/sbin/nginx") or not programs["wrk"]:
        print("generators: nginx or wrk is missing (Debian: nginx-light, wrk)", file=sys.stderr)
        return 2
    programs = {name: program for name, program in programs.items() if program}
    os.sched_setaffinity(0, {1})  # it works while they stand still
    runs = {connections: [] for connections in CONNECTIONS}
    with nginx() as port:
        for block in range(options.blocks):
            for connections in CONNECTIONS:
                runs[connections].append(measure_block(programs, port, connections, options.turns))
            print(f"block {block + 1} of {options.blocks}", file=sys.stderr)
    print(f"nginx, one worker on CPU 0, {len(ANSWER)} bytes of body; the generators on CPU 1, "
          f"closed loop, in {options.turns} turns of {TURN_S * 1e3:.0f} ms each a block")
    for connections in CONNECTIONS:
        print_table(runs[connections], programs, connections)
    return 0


if __name__ == "__main__":
    sys.exit(main())
