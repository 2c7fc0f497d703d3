"""check_record.py load|run FILE [CONDITION…]: is FILE what results/README.md promises?

Says the first thing that is not so and exits with 1. A CONDITION is a Python expression about the
record `r`; in a run, `reps` are its repetitions.
"""
import json
import os
import re
import sys

NUMBER = (int, float)
NULL = type(None)
QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p999": 0.999, "p9999": 0.9999}
ERRORS = ("connect connect_timeout timeout reset closed wrong_answer parse status database "
          "other").split()


def fail(text):
    sys.exit(text)


def need(condition, text):
    if not condition:
        fail(text)


def kind(*types):
    return tuple(t for item in types for t in (item if isinstance(item, tuple) else (item,)))


def has(where, record, keys):
    """keys: name -> type or types. A bool is no number here."""
    need(isinstance(record, dict), f"{where} is no object: {record!r}")
    for name, types in keys.items():
        need(name in record, f"{where} has no {name}")
        value = record[name]
        types = kind(types)
        right = isinstance(value, types) and (bool in types or not isinstance(value, bool))
        need(right, f"{where}.{name} is {value!r}")


LOAD = {
    "schema": int, "valid": bool, "invalid": list, "bound": (str, NULL), "window_ns": int,
    "turns": (dict, NULL),
    "offered_rate": (NUMBER, NULL), "achieved_rate": (NUMBER, NULL), "requests": int,
    "errors": dict, "response_ns": (dict, NULL), "service_ns": (dict, NULL),
    "lag_ns": (dict, NULL), "intervals": list, "client": dict, "causes": list,
    "status": (dict, NULL), "reconnects": int, "connect_ns": (dict, NULL),
    "resolve_ns": (dict, NULL), "unsent": (int, NULL), "shed": (int, NULL),
    "unstable": bool, "drift": (NUMBER, NULL),
}
CAUSE = {"phase": str, "errno": (str, NULL), "what": (str, NULL), "count": int}
PHASES = "connect send receive parse close timeout".split()
STATUS = {"count": int, "latency_ns": (dict, NULL)}
CLIENT = {
    "cpu_us_per_request": (NUMBER, NULL), "user_us_per_request": (NUMBER, NULL), "busy": NUMBER,
    "received_bytes": int, "context_switches": int, "connections": int,
    "slowest_connection_requests": (int, NULL), "median_connection_requests": (int, NULL),
    "fastest_connection_requests": (int, NULL),
}
SERVER = {
    "cpu_us_per_request": (NUMBER, NULL), "user_us_per_request": (NUMBER, NULL),
    "busy": (NUMBER, NULL), "context_switches_per_request": (NUMBER, NULL),
    "max_rss_bytes": (int, NULL), "syscalls_per_request": (dict, NULL),
    "events_per_wait": (NUMBER, NULL), "sends_later": (int, NULL), "lag_ns": (NUMBER, NULL),
    "copied_bytes": (int, NULL), "accept_refused": (int, NULL),
    "workload": (dict, NULL),
}
INTERVAL = {"at_ns": int, "rate": (NUMBER, NULL), "p50": (int, NULL), "p99": (int, NULL),
            "errors": int}
REPETITION = {
    "experiment": str, "cell": str, "block": int, "position": int, "server_name": str,
    "loop": (str, NULL), "workload": str, "knobs": dict, "measure": str, "arrivals": str,
    "server": dict, "host": dict, "floor_us_per_request": (NUMBER, NULL),
}
RUN = {
    "schema": int, "command": list, "revision": str, "started_utc": str,
    "finished_utc": (str, NULL), "complete": bool, "ended_because": (str, NULL), "seed": int,
    "scope": str, "environment": dict, "pinning": dict, "database": (dict, NULL),
    "experiments": list, "repetitions": list, "latency": list, "logs": list,
}
DATABASE = {"source": str, "version": (str, NULL), "settings": (dict, NULL), "cpus": (str, NULL)}
EXPERIMENT = {"name": str, "file": str, "question": str, "measure": str, "workload": str,
              "axes": list, "servers": list, "claims": list, "skipped": list}


LAG_MATTERS_NS = 50000  # from there on the generator's own lag may be what the response shows


def spoilt_by_lag(name, lag):
    return lag is not None and (lag[name] is None or lag[name] > LAG_MATTERS_NS)


def check_latency(where, latency, lag=None):
    has(where, latency, {"min": int, "mean": NUMBER, "max": int, "count": int, "intervals": dict})
    has(where, latency, {name: (int, NULL) for name in QUANTILES})
    before = latency["min"]
    for name, q in QUANTILES.items():
        value, beyond = latency[name], latency["count"] * (1 - q)
        need(beyond > 4.99 or value is None,
             f"{where}.{name} is given with {beyond:.1f} samples beyond it")
        need(beyond < 6 or value is not None or spoilt_by_lag(name, lag),
             f"{where}.{name} is null for no reason")
        if value is None:
            continue
        need(value >= before, f"{where}.{name} is below a lower quantile")
        # A value stands for its bucket, which is up to 0.1 % wide.
        need(value <= latency["max"] * 1.002 + 1, f"{where}.{name} is above the maximum")
        before = value
        if name in latency["intervals"]:
            low, high = latency["intervals"][name]
            need(low <= value <= high, f"{where}.{name} lies outside its own interval")


def check_validity(where, r):
    need(r["valid"] == (r["invalid"] == []), f"{where}: valid and its reasons disagree")
    need(all(isinstance(reason, str) and reason for reason in r["invalid"]),
         f"{where}: a reason is no text: {r['invalid']}")
    need(r["bound"] in ("server", "co-limited", "latency", "generator", None),
         f"{where}.bound is {r['bound']}")
    need(r["bound"] != "generator" or not r["valid"], f"{where}: generator-bound, yet valid")


def check_load(where, r):
    has(where, r, LOAD)
    need(r["schema"] == 1, f"{where}.schema is {r['schema']}")
    check_validity(where, r)
    has(f"{where}.errors", r["errors"], {name: int for name in ERRORS})
    need(set(r["errors"]) == set(ERRORS), f"{where}.errors has other kinds")
    for cause in r["causes"]:
        has(f"{where}.causes", cause, CAUSE)
        need(cause["phase"] in PHASES, f"{where}.causes: phase {cause['phase']}")
    counted = sum(cause["count"] for cause in r["causes"])
    need(counted <= sum(r["errors"].values()), f"{where}.causes are more than the errors")
    check_status(f"{where}.status", r)
    has(f"{where}.client", r["client"], CLIENT)
    need(0 <= r["client"]["busy"] <= 1, f"{where}.client.busy is {r['client']['busy']}")
    for name in ("response_ns", "service_ns", "lag_ns"):
        if r[name] is not None:
            check_latency(f"{where}.{name}", r[name],
                          r["lag_ns"] if name == "response_ns" else None)
    for interval in r["intervals"]:
        has(f"{where}.intervals", interval, INTERVAL)
    times = [interval["at_ns"] for interval in r["intervals"]]
    need(times == sorted(times), f"{where}.intervals are not in order")
    if r["window_ns"] == 0:
        return  # it never came to measuring
    open_loop = r["offered_rate"] is not None
    need(not open_loop or r["bound"] is None, f"{where}: a bound in an open loop")
    if open_loop:
        need(r["response_ns"] and r["lag_ns"], f"{where}: an open loop without times")
        need(r["response_ns"]["max"] >= r["service_ns"]["max"],
             f"{where}: the worst service time is above the worst response time")
    else:
        need(r["lag_ns"] is None, f"{where}: lag in a closed loop")
        need(r["response_ns"] == r["service_ns"], f"{where}: response is not service time")
    if sum(r["errors"].values()) == 0 and r["requests"] > 0 and not r.get("unsent"):
        need(r["service_ns"]["count"] == r["requests"], f"{where}: times are missing")


def check_status(where, r):
    """Each answer has a status, or none has."""
    if r["status"] is None:
        return
    need(set(r["status"]) == {"1xx", "2xx", "3xx", "4xx", "5xx"}, f"{where} has other classes")
    for name, class_ in r["status"].items():
        has(f"{where}.{name}", class_, STATUS)
        if class_["latency_ns"] is not None:
            check_latency(f"{where}.{name}", class_["latency_ns"], None)
            need(class_["latency_ns"]["count"] == class_["count"], f"{where}.{name}: times missing")
    need(sum(class_["count"] for class_ in r["status"].values()) == r["requests"],
         f"{where}: not as many statuses as answers")


def check_knobs(where, knobs):
    for name in ("connections", "idle_connections", "in_flight", "rate_per_s",
                 "warmup_ns", "duration_ns", "timeout_ns", "threads"):
        need(isinstance(knobs.get(name), NUMBER), f"{where}.knobs.{name} is {knobs.get(name)!r}")
    need(knobs.get("arrivals") in ("constant", "poisson"), f"{where}.knobs.arrivals")
    need(knobs.get("transport") in ("tcp", "unix"), f"{where}.knobs.transport")


def check_repetition(where, r, experiments):
    has(where, r, REPETITION)
    check_load(where, r)
    has(f"{where}.server", r["server"], SERVER)
    has(f"{where}.host", r["host"], {"steal_share": (NUMBER, NULL), "load_1m": (NUMBER, NULL),
                              "kept_awake": (str, NULL)})
    check_knobs(where, r["knobs"])
    need(r["experiment"] in experiments, f"{where}: unknown experiment {r['experiment']}")
    need(r["server_name"] in experiments[r["experiment"]], f"{where}: unknown server")
    open_loop = r["measure"] in ("latency", "cost")
    need(r["arrivals"] in (("constant", "poisson") if open_loop else ("closed",)),
         f"{where}: {r['measure']} with {r['arrivals']}")


def place(r):
    return r["experiment"], r["cell"], r["block"], r["position"]


def first_tries(repetitions):
    """Without those that were measured again because the machine had spoilt them."""
    tries = {}
    for r in repetitions:
        tries.setdefault(place(r), r)
    return list(tries.values())


def check_retries(repetitions):
    """One more try at most, of the same server, of one that was not valid."""
    earlier = {}
    for r in repetitions:
        first = earlier.setdefault(place(r), r)
        if first is r:
            continue
        need(not first["valid"] and first["server_name"] == r["server_name"],
             f"{place(r)} was measured again without need")
        need("retry" not in first, f"{place(r)} was measured more than twice")
        first["retry"] = True


def check_order(repetitions):
    """In each block of a cell every server runs once; positions count from 0."""
    blocks = {}
    for r in first_tries(repetitions):
        blocks.setdefault((r["experiment"], r["cell"], r["block"]), []).append(r)
    for block, members in blocks.items():
        names = [r["server_name"] for r in members]
        need(len(set(names)) == len(names), f"a server twice in {block}: {names}")
        need([r["position"] for r in members] == list(range(len(members))),
             f"positions of {block} are not 0, 1, …")


def check_floors(repetitions):
    """One floor for each block of a cell, over 0 where there is one."""
    floors = {}
    for r in repetitions:
        key, floor = (r["experiment"], r["cell"], r["block"]), r["floor_us_per_request"]
        need(floors.setdefault(key, floor) == floor, f"{key} has two floors")
        need(floor is None or floor > 0, f"{key} has a floor of {floor}")


def check_run(r, directory):
    has("run", r, RUN)
    need(r["schema"] == 1, f"schema is {r['schema']}")
    if r["database"] is not None:
        has("database", r["database"], DATABASE)
        need(r["database"]["source"] in ("private", "given"), "database.source")
    need(r["scope"] in ("smoke", "headline", "full"), f"scope is {r['scope']}")
    need(all(isinstance(word, str) for word in r["command"]) and r["command"], "command is no list")
    need(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", r["started_utc"]), "started_utc")
    need(r["complete"] == (r["ended_because"] is None), "complete and ended_because disagree")
    has("pinning", r["pinning"],
        {"server_cpus": str, "generator_cpus": str, "shared": bool, "reason": str,
         "kept_awake": bool})
    has("environment", r["environment"], {"warnings": list, "caption": str})
    experiments = {}
    for experiment in r["experiments"]:
        has("experiment", experiment, EXPERIMENT)
        for server in experiment["servers"]:
            has("server", server, {"name": str, "loop": (str, NULL), "command": (str, NULL),
                                   "version": (str, NULL)})
        for claim in experiment["claims"]:
            has("claim", claim, {"name": str, "says": str, "rule": str})
        for skipped in experiment["skipped"]:
            has("skipped", skipped, {"server_name": str, "cell": (str, NULL), "reason": str})
        experiments[experiment["name"]] = {server["name"] for server in experiment["servers"]}
    for i, repetition in enumerate(r["repetitions"]):
        check_repetition(f"repetitions[{i}]", repetition, experiments)
    check_order(r["repetitions"])
    check_retries(r["repetitions"])
    check_floors(r["repetitions"])
    for latency in r["latency"]:
        has("latency", latency, {"experiment": str, "cell": str, "server_name": str, "file": str})
        need(os.path.exists(os.path.join(directory, latency["file"])),
             f"there is no {latency['file']}")
    for log in r["logs"]:
        has("logs", log, {"experiment": str, "cell": str, "server_name": str, "valid": bool,
                          "file": str})
        need(os.path.exists(os.path.join(directory, log["file"])), f"there is no {log['file']}")
    for repetition in r["repetitions"]:
        need(repetition["requests"] == 0 or
             any(all(log[key] == repetition[key]
                     for key in ("experiment", "cell", "server_name", "valid"))
                 for log in r["logs"]), "a repetition is in no log")


def main():
    what, path, conditions = sys.argv[1], sys.argv[2], sys.argv[3:]
    try:
        with open(path, encoding="utf-8") as file:
            r = json.load(file)
    except (OSError, ValueError) as error:
        fail(f"{path}: {error}")
    if what == "load":
        check_load("load", r)
    else:
        check_run(r, os.path.dirname(path) or ".")
    names = {"r": r, "reps": first_tries(r.get("repetitions", []))}
    for condition in conditions:
        need(eval(f"({condition})", names), f"{condition} does not hold; valid: {r.get('valid')} "
                                     f"{r.get('invalid')} {r.get('errors')}")


main()
