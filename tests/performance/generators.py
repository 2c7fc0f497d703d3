"""generators.py LOOPMARK [--blocks N] [--seconds S]: load generators beside each other.

Against nginx with one worker on CPU 0 each generator runs on CPU 1 for S seconds, closed loop, with
10 and with 100 connections; the generators of a block in random order. Throughput is what each one
counted, its CPU time what the kernel counted of its process from start to end: so nothing but the
number of answers is taken from a generator's own word. Prints a table: medians, and the ratio of
loopmark to each other one with its 95 % interval between blocks (signed-rank, as in ratios.py).

Exit status 1: a generator failed; 2: nginx or wrk is missing."""
import argparse
import json
import os
import random
import re
import resource
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

CONNECTIONS = (10, 100)
ANSWER = "hello, world"

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
    server {{ listen 127.0.0.1:{port}; location / {{ return 200 "{answer}"; }} }}
}}
"""


def loopmark_command(program, url, connections, seconds):
    return [program, "load", url, "-c", str(connections), "-d", f"{seconds}s", "--warmup", "0s",
            "--json", "--quiet"]


def wrk_command(program, url, connections, seconds):
    return [program, "-t1", f"-c{connections}", f"-d{seconds}s", url]


def h2load_command(program, url, connections, seconds):
    return [program, "--h1", "-t1", f"-c{connections}", "-D", str(seconds), url]


def loopmark_answers(output):
    return json.loads(output)["requests"]


def wrk_answers(output):
    return int(re.search(r"(\d+) requests in", output).group(1))


def h2load_answers(output):
    return int(re.search(r"(\d+) succeeded", output).group(1))


# name -> command line, the number of answers in what it printed, exit codes that are no failure
GENERATORS = {
    "loopmark": (loopmark_command, loopmark_answers, (0, 5)),
    "wrk": (wrk_command, wrk_answers, (0,)),
    "h2load": (h2load_command, h2load_answers, (0,)),
}


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def start_nginx(folder, port):
    configuration = os.path.join(folder, "nginx.conf")
    with open(configuration, "w", encoding="utf-8") as file:
        file.write(CONFIGURATION.format(folder=folder, port=port, answer=ANSWER))
    server = subprocess.Popen(["taskset", "-c", "0", "/usr/sbin/nginx", "-p", folder, "-c",
                               configuration], stderr=subprocess.DEVNULL)
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return server
        except OSError:
            time.sleep(0.02)
    server.kill()
    raise SystemExit("nginx does not listen")


def measure(name, program, url, connections, seconds):
    """Answers per second and CPU µs per answer of one run."""
    command, answers_in, good = GENERATORS[name]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(["taskset", "-c", "1"] + command(program, url, connections, seconds),
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode not in good:
        raise SystemExit(f"{name} ended with {done.returncode}: {done.stderr.strip()[-200:]}")
    answers = answers_in(done.stdout)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"rate": answers / seconds, "cpu_us": cpu_s * 1e6 / answers}


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
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the server is stopped
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("loopmark")
    parser.add_argument("--blocks", type=int, default=50)
    parser.add_argument("--seconds", type=int, default=1)
    options = parser.parse_args()
    programs = {"loopmark": options.loopmark, "wrk": shutil.which("wrk"),
                "h2load": shutil.which("h2load")}
    if not os.path.exists("/usr/sbin/nginx") or not programs["wrk"]:
        print("generators: nginx or wrk is missing (Debian: nginx-light, wrk)", file=sys.stderr)
        return 2
    names = [name for name in GENERATORS if programs[name]]
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        port = free_port()
        server = start_nginx(folder, port)
        try:
            url = f"http://127.0.0.1:{port}/"
            runs = {connections: [] for connections in CONNECTIONS}
            for block in range(options.blocks):
                for connections in CONNECTIONS:
                    order = random.sample(names, len(names))
                    runs[connections].append({name: measure(name, programs[name], url, connections,
                                                            options.seconds) for name in order})
                print(f"block {block + 1} of {options.blocks}", file=sys.stderr)
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait()
    print(f"nginx, one worker on CPU 0, {len(ANSWER)} bytes of body; each generator on CPU 1, "
          f"closed loop, {options.seconds} s a run")
    for connections in CONNECTIONS:
        print_table(runs[connections], names, connections)
    return 0


if __name__ == "__main__":
    sys.exit(main())
