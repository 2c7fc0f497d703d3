#!/bin/bash
# `selftest`: it runs, its rows and JSON are whole, and they say what its exit code says. How right
# this machine is, is not judged here (tests/accuracy/selftest.sh does).
# alone: its server and its generator spin on two CPUs
# shellcheck source=tests/end_to_end/library.bash
. "$(dirname "$0")/library.bash"

run_loopmark selftest --quick --json --quiet
cp out selftest.json
[ "$status" -eq 0 ] || [ "$status" -eq 5 ]
result quick $? "exit status $status: $(last_words)"
[ ! -s err ]
result quiet_logs_nothing $? "stderr has $(head -n 1 err)"
"$python" - "$status" <<'CHECK' >why 2>&1
import json, math, sys
r = json.load(open("selftest.json", encoding="utf-8"))
status = int(sys.argv[1])
assert r["schema"] == 1 and r["quick"] is True and r["exit"] == status, r
assert r["valid"] is (status == 0), r["valid"]
bad = [w for w in r["rows"] if w["verdict"] in ("off", "cannot tell")]
assert r["valid"] or r["invalid"] or bad, "no reason"
assert {m["case"] for m in r["machine"]} >= {w["case"] for w in r["rows"]}, r["machine"]
for m in r["machine"]:
    assert m["tries"] == 1, m  # a quick run does not repeat
    assert m["server_pauses_by_others"] <= m["server_pauses"], m
    assert m["server_longest_pause_ns"] <= m["server_paused_ns"], m
    assert 0 <= m["left_out"] <= 1 and (m["generator_standstills"] or not m["left_out"]), m
# Where it may spin it keeps a trace, but for the round trips.
traced = {row["case"] for row in r["rows"] if row["quantity"].endswith(" of all")}
assert not traced if r["shared_cpu"] else traced or r["invalid"], traced
assert not any(name.startswith("round trip") for name in traced), traced
assert isinstance(r["cpus"], str) and 0 <= r["disturbed"]
assert r["server_spins"] is not r["shared_cpu"]
keys = {"case", "quantity", "expected_ns", "measured_ns", "low_ns", "high_ns", "error_ns",
        "allowed_ns", "verdict"}
for row in r["rows"]:
    assert set(row) == keys, row
    assert row["verdict"] in ("within", "off", "cannot tell", "shown"), row
    if row["expected_ns"] is not None and row["measured_ns"] is not None:
        error_ns = row["measured_ns"] - row["expected_ns"]
        assert math.isclose(row["error_ns"], error_ns, rel_tol=1e-6, abs_tol=1), row
    if row["verdict"] in ("within", "off"):
        so = abs(row["error_ns"]) <= row["allowed_ns"]
        assert so is (row["verdict"] == "within"), row
    if row["low_ns"] is not None and row["measured_ns"] is not None:
        assert row["low_ns"] <= row["measured_ns"] <= row["high_ns"], row
    if row["quantity"] == "p50" and row["verdict"] != "cannot tell":
        assert row["measured_ns"] > 0, row
CHECK
result json $? "$(tail -n 1 why)"

# What no machine can be too slow for: a server does not answer before it does.
"$python" - <<'CHECK' >why 2>&1
import json
r = json.load(open("selftest.json", encoding="utf-8"))
seen = {}
for row in r["rows"]:
    seen.setdefault(row["case"], {})[row["quantity"]] = row
missing = {"round trip 1k/s", "round trip 5k/s", "constant 1 ms", "constant 10 ms",
           "1 ms, 1 % 20 ms"} - set(seen)
# One that saw other requests than were due has no rows, and a reason instead.
assert all(any(text.startswith(name) for text in r["invalid"]) for name in missing), missing
for name, least_ns in ("constant 1 ms", 1e6), ("constant 10 ms", 10e6), ("1 ms, 1 % 20 ms", 1e6):
    p50 = seen.get(name, {}).get("p50")
    if p50 and p50["verdict"] != "cannot tell":  # then too few may be left for a median
        assert p50["measured_ns"] >= least_ns, p50
        assert p50["expected_ns"] >= least_ns, p50
CHECK
result no_answer_before_its_time $? "$(tail -n 1 why)"

run_loopmark selftest --help
[ "$status" -eq 0 ] && grep -q '^usage: loopmark selftest' out && grep -q '^examples:' out &&
    ! grep -qE '^.{101}' out
result help $? "exit status $status, $(wc -l <out) lines"
refused unknown_option 'frobnicate' selftest --frobnicate
refused argument "'everything'" selftest everything
refused one_of_two_cpus 'give both' selftest --server-cpus 0
refused no_such_cpu '4095|1023' selftest --server-cpus 1023 --generator-cpus 1023

background interrupted selftest
# shellcheck disable=SC2317
under_way() { [ "$(wc -w <"/proc/$pid/task/$pid/children")" -ge 2 ]; } # server and generator
await 10 under_way
kill -INT "$pid"
await_end "$pid" 20
[ "$status" = 130 ]
result interrupted $? "exit status $status"

finish
