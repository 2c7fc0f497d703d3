"""pgbench.py LOOPMARK [--blocks N] [--seconds S] [--connections N…]: `load` of a database beside
pgbench.

The contenders ask a private PostgreSQL (`loopmark postgres`) on CPU 0 from CPU 1, closed loop, with
1, 5, 10 and 20 connections, or what is said. Those of a block live side by side for S seconds and
take turns of 25 ms in random order, the others stopped (turns.py).
All ask for the same row by the same prepared statement with ids from 1 to 10,000 at random: pgbench
by a script with -M prepared, on one thread as loopmark does. A third contender is loopmark with
eight requests in flight on each connection, for which pgbench has no like. Throughput is the
answers that each one has counted over the time of its turns, and CPU time what the kernel counted
of it, both from its start to its end, so that connecting is in it for all of them: 0.1 s of the
third of S that each one has. Prints a table: medians, and the ratio of each loopmark to pgbench
with its 95 % interval between blocks (signed-rank, as in ratios.py).

Exit status 1: a contender failed; 2: pgbench or PostgreSQL is missing."""
import argparse
import contextlib
import glob
import json
import os
import random
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import urllib.parse

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "accuracy"))
from ratios import ratio  # noqa: E402
from turns import TurnTaker  # noqa: E402

CONNECTIONS = (1, 5, 10, 20)
IN_FLIGHT = 8
BLOCKS_LEAST = 6  # fewer have no 95 % interval
START_S = 0.2  # to connect
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


def loopmark_answers(output):
    record = json.loads(output[output.index("{"):output.rindex("}") + 1])  # warnings beside it
    if sum(record["errors"].values()):
        raise SystemExit(f"loopmark counted errors: {record['causes']}")
    return record["requests"]


def pgbench_answers(output):
    answers = re.search(r"transactions actually processed: (\d+)", output)
    if not answers:
        raise SystemExit(f"pgbench told no answers: {output.strip()[-200:]}")
    return int(answers.group(1))


# name -> command line, what it is told to have in flight, the answers by what it printed, exit
# codes that are no failure: as loopmark sees it, it is stopped most of the time, and not valid
CONTENDERS = {
    "pgbench": (pgbench_command, 1, pgbench_answers, (0,)),
    "loopmark": (loopmark_command, 1, loopmark_answers, (0, 5)),
    f"loopmark, {IN_FLIGHT} in flight": (loopmark_command, IN_FLIGHT, loopmark_answers, (0, 5)),
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


def result(taker, output):
    """Answers per second and CPU µs per answer."""
    _, _, answers_in, good = CONTENDERS[taker.name]
    output.seek(0)
    text = output.read()
    if taker.process.returncode not in good:
        raise SystemExit(f"{taker.name} ended with {taker.process.returncode}: "
                         f"{text.strip()[-200:]}")
    answers = answers_in(text)
    cpu_s = taker.usage.ru_utime + taker.usage.ru_stime
    return {"rate": answers / taker.lasted_s, "cpu_us": cpu_s * 1e6 / answers}


def measure_block(options, connections):
    """name -> its result."""
    outputs, takers = {}, []
    with contextlib.ExitStack() as stack:
        for name, (command, in_flight, _, _) in CONTENDERS.items():
            outputs[name] = stack.enter_context(tempfile.TemporaryFile("w+"))
            taker = TurnTaker(name, command(options, connections, in_flight), outputs[name])
            stack.callback(taker.end)
            taker.run(START_S)
            takers.append(taker)
        alive = takers
        while alive:
            alive = [taker for taker in random.sample(alive, len(alive)) if taker.run()]
        return {taker.name: result(taker, outputs[taker.name]) for taker in takers}


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
    runs = {connections: [] for connections in options.connections}
    for block in range(options.blocks):
        for connections in random.sample(options.connections, len(options.connections)):
            runs[connections].append(measure_block(options, connections))
        print(f"block {block + 1} of {options.blocks}", file=sys.stderr)
    return runs


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the server is stopped
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("loopmark")
    parser.add_argument("--blocks", type=int, default=16)
    parser.add_argument("--seconds", type=int, default=15)
    parser.add_argument("--connections", type=int, nargs="+", default=CONNECTIONS)
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
          f"contender on CPU 1, one thread, closed loop, in turns for {options.seconds} s a block")
    for connections in options.connections:
        print_table(runs[connections], connections)
    return 0


if __name__ == "__main__":
    sys.exit(main())
