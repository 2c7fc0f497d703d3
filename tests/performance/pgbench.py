"""pgbench.py LOOPMARK [--blocks N] [--seconds S]: `load` of a database beside pgbench.

Against a private PostgreSQL (`loopmark postgres`) on CPU 0 each contender runs on CPU 1 for S
seconds, closed loop, with 1, 5, 10 and 20 connections; the contenders of a block in random order.
Both ask for the same row by the same prepared statement with ids from 1 to 10,000 at random:
pgbench by a script with -M prepared, on one thread as loopmark does. A third contender is loopmark
with eight requests in flight on each connection, for which pgbench has no like. Throughput is what
each one says, connecting left out; CPU time what the kernel counted of its process from start to
end. Prints a table: medians, and the ratio of each loopmark to pgbench with its 95 % interval
between blocks (signed-rank, as in ratios.py).

Exit status 1: a contender failed; 2: pgbench or PostgreSQL is missing."""
import argparse
import glob
import json
import os
import random
import re
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import urllib.parse

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "accuracy"))
from ratios import ratio  # noqa: E402

CONNECTIONS = (1, 5, 10, 20)
IN_FLIGHT = 8
BLOCKS_LEAST = 6  # fewer have no 95 % interval
# The statement of workloads/query.c.
SCRIPT = ("\\set id random(1, 10000)\n"
          "select id, value, payload from item where id = :id;\n")


def find_pgbench():
    """On the PATH, or where Debian has it."""
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin/pgbench"))
    return shutil.which("pgbench") or (found[-1] if found else None)


def loopmark_command(options, connections, in_flight):
    return [options.loopmark, "load", options.target, "-c", str(connections), "-d",
            f"{options.seconds}s", "--warmup", "0s", "--pipeline", str(in_flight), "--json",
            "--quiet"]


def pgbench_command(options, connections, _):
    place = urllib.parse.urlsplit(options.target)
    where = dict(urllib.parse.parse_qsl(place.query))
    return [options.pgbench, "-n", "-M", "prepared", "-f", options.script, "-c", str(connections),
            "-j", "1", "-T", str(options.seconds), "-h", where["host"], "-p", where["port"], "-U",
            where["user"], place.path.lstrip("/")]


def loopmark_result(output):
    record = json.loads(output)
    if sum(record["errors"].values()):
        raise SystemExit(f"loopmark counted errors: {record['causes']}")
    return record["requests"], record["achieved_rate"]


def pgbench_result(output):
    answers = re.search(r"transactions actually processed: (\d+)", output)
    rate = re.search(r"tps = ([0-9.]+) \(without initial connection time\)", output)
    return int(answers.group(1)), float(rate.group(1))


# name -> command line, what it is told to have in flight, the answers and their rate by what it
# printed, exit codes that are no failure
CONTENDERS = {
    "pgbench": (pgbench_command, 1, pgbench_result, (0,)),
    "loopmark": (loopmark_command, 1, loopmark_result, (0, 5)),
    f"loopmark, {IN_FLIGHT} in flight": (loopmark_command, IN_FLIGHT, loopmark_result, (0, 5)),
}


def start_postgres(options):
    server = subprocess.Popen(["taskset", "-c", "0", options.loopmark, "postgres"],
                              stdout=subprocess.PIPE, text=True)
    options.target = server.stdout.readline().strip()
    if not options.target:
        server.wait()
        print("pgbench: PostgreSQL cannot run here (Debian: postgresql)", file=sys.stderr)
        sys.exit(2)
    return server


def measure(options, name, connections):
    """Answers per second and CPU µs per answer of one run."""
    command, in_flight, result_in, good = CONTENDERS[name]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(["taskset", "-c", "1"] + command(options, connections, in_flight),
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode not in good:
        raise SystemExit(f"{name} ended with {done.returncode}: {done.stderr.strip()[-200:]}")
    answers, rate = result_in(done.stdout)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"rate": rate, "cpu_us": cpu_s * 1e6 / answers}


def interval(pairs):
    if len(pairs) < BLOCKS_LEAST:
        return f"{statistics.median(mine / other for mine, other in pairs):.3f} (too few blocks)"
    found = ratio(pairs, 0.05)
    return f"{found['estimate']:.3f} ({found['low']:.3f} to {found['high']:.3f})"


def print_table(runs, connections):
    print(f"\n{connections} connections: medians of {len(runs)} blocks\n")
    print("| contender | answers/s | CPU µs/answer | it ÷ pgbench: answers/s | CPU per answer |")
    print("|---|---:|---:|---:|---:|")
    for name in CONTENDERS:
        rate = statistics.median(run[name]["rate"] for run in runs)
        cpu = statistics.median(run[name]["cpu_us"] for run in runs)
        ratios = ["", ""] if name == "pgbench" else [
            interval([(run[name][key], run["pgbench"][key]) for run in runs])
            for key in ("rate", "cpu_us")]
        print(f"| {name} | {rate:,.0f} | {cpu:.2f} | {ratios[0]} | {ratios[1]} |")


def run_blocks(options):
    runs = {connections: [] for connections in CONNECTIONS}
    for block in range(options.blocks):
        for connections in random.sample(CONNECTIONS, len(CONNECTIONS)):
            order = random.sample(list(CONTENDERS), len(CONTENDERS))
            runs[connections].append({name: measure(options, name, connections)
                                      for name in order})
        print(f"block {block + 1} of {options.blocks}", file=sys.stderr)
    return runs


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the server is stopped
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("loopmark")
    parser.add_argument("--blocks", type=int, default=20)
    parser.add_argument("--seconds", type=int, default=2)
    options = parser.parse_args()
    options.pgbench = find_pgbench()
    if not options.pgbench:
        print("pgbench: pgbench is missing (Debian: postgresql)", file=sys.stderr)
        return 2
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as script:
        script.write(SCRIPT)
        script.flush()
        options.script = script.name
        server = start_postgres(options)
        try:
            runs = run_blocks(options)
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait()
    print(f"PostgreSQL on CPU 0 by a unix socket, one-row selects by a prepared statement; each "
          f"contender on CPU 1, one thread, closed loop, {options.seconds} s a run")
    for connections in CONNECTIONS:
        print_table(runs[connections], connections)
    return 0


if __name__ == "__main__":
    sys.exit(main())
