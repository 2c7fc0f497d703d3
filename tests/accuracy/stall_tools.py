"""stall_tools.py LOOPMARK: a server that stands still for a second of ten, and what load
generators say of it.

nginx with one process on CPU 0 is stopped for a second (stall.py) in the middle of a window of ten,
while a generator on CPU 1 loads it on 50 connections: at 1,000 requests a second where it takes a
rate, else in a closed loop. The first line of the table is what a user who comes at any time of
that window meets, computed from when nginx was told to stop and to go on; each other line is
what one generator says, in its own words where it prints percentiles (`-`: it does not).

wrk2 is in no distribution: $WRK2 says where it is, if it is anywhere. So with autocannon, of npm,
and $AUTOCANNON. What is missing is named below the table. Takes two minutes.

Exit status 1: a generator failed; 2: nginx is missing."""
import collections
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile

import stall

RATE, CONNECTIONS, WINDOW_S, STOP_S = 1000, 50, 10, 1
WRK2_CALIBRATES_S = 10  # src/wrk.c: what comes before is not in its latencies
QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "p99.9": 0.999}
MS = {"us": 1e-3, "ms": 1, "s": 1e3, "m": 60e3}


def milliseconds(text):
    number, unit = re.fullmatch(r"([\d.]+)([a-z]+)", text).groups()
    return float(number) * MS[unit]


# ---- what each of them prints: "p50", …, "max" -> ms, and "answers" ------------------------------

def read_loopmark(output, _):
    record = json.loads(output)
    times = {name: record["response_ns"][name.replace(".", "")] for name in (*QUANTILES, "max")}
    found = {name: ns / 1e6 for name, ns in times.items() if ns is not None}
    return found | {"answers": record["requests"]}


def read_wrk(output, _):
    found = {f"p{percent}": milliseconds(time) for percent, time in
             re.findall(r"^ +(\d+)% +(\S+)$", output, re.M)}
    found["max"] = milliseconds(re.search(r"Latency +\S+ +\S+ +(\S+)", output).group(1))
    return found | {"answers": int(re.search(r"(\d+) requests in", output).group(1))}


def read_wrk2(output, _):
    found = {f"p{float(percent):g}": milliseconds(time) for percent, time in
             re.findall(r"^ *([\d.]+)% +(\S+)$", output, re.M)}
    found["max"] = found["p100"]
    spectrum = re.findall(r"^ +([\d.]+) +([\d.]+) +\d+ +[\d.]+$", output, re.M)
    found["p95"] = next(float(ms) for ms, share in spectrum if float(share) >= 0.95)
    return found | {"answers": int(re.search(r"(\d+) requests in", output).group(1))}


def read_hey(output, _):
    found = {f"p{percent}": 1e3 * float(seconds) for percent, seconds in
             re.findall(r"(\d+)% in ([\d.]+) secs", output)}
    found["max"] = 1e3 * float(re.search(r"Slowest:\s+([\d.]+) secs", output).group(1))
    return found | {"answers": int(re.search(r"\[200\]\s+(\d+) responses", output).group(1))}


def read_ab(output, _):
    found = {f"p{percent}": float(ms) for percent, ms in
             re.findall(r"^ +(\d+)% +(\d+)", output, re.M)}
    found["max"] = found["p100"]
    return found | {"answers": int(re.search(r"Complete requests: +(\d+)", output).group(1))}


def read_h2load(output, log):
    """It prints no percentile: they are of its log, whose third column is the time in us."""
    with open(log, encoding="ascii") as file:
        times = sorted(int(line.split("\t")[2]) / 1e3 for line in file)
    found = {name: times[math.ceil(q * len(times)) - 1] for name, q in QUANTILES.items()}
    found["max"] = milliseconds(re.search(r"time for request: +\S+ +(\S+)", output).group(1))
    return found | {"answers": int(re.search(r"(\d+) succeeded", output).group(1))}


def read_autocannon(output, _):
    record = json.loads(output)
    found = {"p50": "p50", "p99": "p99", "p99.9": "p99_9", "max": "max"}
    return ({name: record["latency"][key] for name, key in found.items()} |
            {"answers": record["requests"]["total"]})


# ---- how each of them is started -----------------------------------------------------------------

Generator = collections.namedtuple("Generator", "program arguments read begins_s version",
                                   defaults=[0, ["--version"]])
LOOPMARK = f"load {{url}} -c {CONNECTIONS} -d {WINDOW_S}s --warmup 0s --timeout 5s --json --quiet"
WRK = f"-t1 -c{CONNECTIONS} --latency"
H2LOAD = f"--h1 -t1 -c{CONNECTIONS} -D {WINDOW_S} --log-file={{log}}"
HEY = f"-z {WINDOW_S}s -c {CONNECTIONS}"
AUTOCANNON = f"-c {CONNECTIONS} -d {WINDOW_S} --json"

OPEN = {
    "loopmark --rate": Generator("loopmark", f"{LOOPMARK} --rate {RATE}", read_loopmark),
    "wrk2 -R": Generator("wrk2", f"{WRK} -d{WRK2_CALIBRATES_S + WINDOW_S}s -R{RATE} {{url}}",
                         read_wrk2, WRK2_CALIBRATES_S, ["-v"]),
    "h2load --rps": Generator("h2load", f"{H2LOAD} --rps={RATE // CONNECTIONS} {{url}}",
                              read_h2load),
    "hey -q": Generator("hey", f"{HEY} -q {RATE // CONNECTIONS} {{url}}", read_hey, 0, None),
    "autocannon -R": Generator("autocannon", f"{AUTOCANNON} -R {RATE} {{url}}", read_autocannon),
}
CLOSED = {
    "loopmark": Generator("loopmark", LOOPMARK, read_loopmark),
    "wrk": Generator("wrk", f"{WRK} -d{WINDOW_S}s {{url}}", read_wrk, 0, ["-v"]),
    "h2load": Generator("h2load", f"{H2LOAD} {{url}}", read_h2load),
    "hey": Generator("hey", f"{HEY} {{url}}", read_hey, 0, None),
    "ab -k": Generator("ab", f"-k -t {WINDOW_S} -n 5000000 -c {CONNECTIONS} {{url}}", read_ab, 0,
                       ["-V"]),
    "autocannon": Generator("autocannon", f"{AUTOCANNON} {{url}}", read_autocannon),
}
OPTIONAL = {"wrk2": "WRK2", "autocannon": "AUTOCANNON"}  # name -> environment variable
PACKAGES = {"wrk": "wrk", "h2load": "nghttp2-client", "hey": "hey", "ab": "apache2-utils"}
GOOD_EXITS = {"loopmark": (0, 5)}


def find_programs(loopmark):
    names = {generator.program for generator in (*OPEN.values(), *CLOSED.values())}
    found = {name: os.environ.get(OPTIONAL.get(name, ""), name) for name in names}
    found["loopmark"] = loopmark
    return {name: shutil.which(program) for name, program in found.items()}


def version(program, arguments, name):
    """Its own word, or the package's."""
    command = ([program, *arguments] if arguments else
               ["dpkg-query", "-W", "-f", "${Version}", PACKAGES[name]])
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          check=False)
    return re.search(r"\d[\w.]*\d", done.stdout).group(0)


# ---- a run ---------------------------------------------------------------------------------------

def start_server(folder):
    server = subprocess.Popen(
        ["taskset", "-c", "0", sys.executable,
         os.path.join(os.path.dirname(__file__), "servers", "nginx.py"), "--listen", "127.0.0.1:0"],
        stdout=subprocess.PIPE, text=True, env=os.environ | {"TMPDIR": folder})
    address = server.stdout.readline().removeprefix("listening on ").strip()
    if not address:
        raise SystemExit("nginx does not start")
    return server, f"http://{address}/"


def load(program, generator, url, folder, pid=None):
    """What the generator said, and how long process `pid` (None: none) was stopped meanwhile."""
    log = os.path.join(folder, "log")
    command = ["taskset", "-c", "1", program, *generator.arguments.format(url=url, log=log).split()]
    if os.path.exists(log):
        os.remove(log)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True) as process:
        after_s = generator.begins_s + (WINDOW_S - STOP_S) / 2
        stopped = stall.stop(pid, after_s, STOP_S) if pid else None
        output, errors = process.communicate()
    if process.returncode not in GOOD_EXITS.get(generator.program, (0,)):
        raise SystemExit(f"{generator.program} ended with {process.returncode}: {errors[-300:]}")
    return generator.read(output, log), stopped


def shown(value):
    return "-" if value is None else f"{value:.3f}" if value < 10 else f"{value:.1f}"


def print_line(name, found):
    answers = f"{found['answers']:,}" if "answers" in found else ""
    times = " | ".join(shown(found.get(key)) for key in (*QUANTILES, "max"))
    print(f"| {name} | {times} | {answers} |", flush=True)


def print_truth(undisturbed, drain_rate, stopped):
    """Nine of ten come while nothing is wrong, so p50 is theirs."""
    stopped_ns, window_ns = stopped["stopped_ns"], WINDOW_S * 1e9
    implied = {name: stall.implied_ns(q, stopped_ns, window_ns, RATE, drain_rate) / 1e6
               for name, q in QUANTILES.items()}
    implied["p50"] = undisturbed["p50"]
    implied["max"] = stopped_ns / 1e6
    print_line(f"**what {RATE:,} users a second meet**", implied)


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the server is stopped
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    if not os.path.exists("/usr/sbin/nginx"):
        print("stall_tools: nginx is missing (Debian: nginx-light)", file=sys.stderr)
        return 2
    programs = find_programs(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        server, url = start_server(folder)
        try:
            compare(programs, url, folder, server.pid)
        finally:
            server.kill()  # stopped or not
            server.wait()
    return 0


def compare(programs, url, folder, pid):
    ours = programs["loopmark"]
    drain, _ = load(ours, CLOSED["loopmark"], url, folder)
    undisturbed, _ = load(ours, OPEN["loopmark --rate"], url, folder)
    print("| ms | " + " | ".join((*QUANTILES, "max", "answers")) + " |")
    print("|---|" + "---:|" * (len(QUANTILES) + 2))
    print_line("loopmark --rate, nobody stopped", undisturbed)
    stops = []
    for kind, generators in (("", OPEN), (", closed loop", CLOSED)):
        for name, generator in generators.items():
            if not programs[generator.program]:
                continue
            found, stopped = load(programs[generator.program], generator, url, folder, pid)
            if name == "loopmark --rate":
                print_truth(undisturbed, drain["answers"] / WINDOW_S, stopped)
            print_line(name + kind, found)
            stops.append(stopped)
    lengths = [stop["stopped_ns"] / 1e6 for stop in stops]
    print(f"\nstopped for {min(lengths):.1f} to {max(lengths):.1f} ms, each time seen within "
          f"{max(stop['seen_ns'] for stop in stops) / 1e6:.1f} ms")
    print_versions(programs)


def print_versions(programs):
    arguments = {generator.program: generator.version for generator in CLOSED.values()}
    arguments["wrk2"] = OPEN["wrk2 -R"].version
    del arguments["loopmark"]
    here = [f"{name} {version(programs[name], arguments[name], name)}"
            for name in arguments if programs[name]]
    missing = [name for name in arguments if not programs[name]]
    print(", ".join(here) + (f"; not here: {', '.join(missing)}" if missing else ""))


if __name__ == "__main__":
    sys.exit(main())
