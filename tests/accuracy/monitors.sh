#!/bin/bash
# monitors.sh: what the monitors of a loop tell is true. A server that does nothing wrong is not
# blamed for as long as it is loaded (MONITOR_SECONDS, or 600), and stalls that are made are all
# found: those of a callback that works too long, for 20, 120 and 600 ms, with its name and its CPU
# time, and those of a process that was stopped from outside, which is not its own fault and must
# not look so.
#
# A machine may hold a server up by itself. What is told then must say that the server's thread did
# not have the CPU: only what blames the server is a false alarm. MONITOR_LOOPS are the loops.
#
# Prints `ok NAME`, `not ok NAME: why` or `skip NAME: why`; exit status 1 if anything was not ok.
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/accuracy/support.bash

needs no_false_alarms callbacks_found stops_found stops_are_not_ours
seconds=${MONITOR_SECONDS:-600}
loops=${MONITOR_LOOPS:-select poll epoll epoll-et libuv io_uring}
# Above the 10 ms for which a host may pause a virtual CPU.
alarm_ms=20

# What was told so far: counts of slow callbacks and of saturations, and of those among them that
# are the server's own doing: it used so many ms of CPU time, or half of the time. Shows at most
# ten.
told() {
    "$python" - "$folder/server.err" "$1" <<'TOLD'
import json, re, sys
counts = {"slow": 0, "slow_ours": 0, "saturated": 0, "saturated_ours": 0, "named": 0}
shown = 0
for line in open(sys.argv[1], encoding="utf-8"):
    kind = "slow" if line.startswith("slow callback: ") else (
        "saturated" if line.startswith("event loop saturation: ") else None)
    if not kind:
        continue
    percent = int(re.search(r"on the CPU (\d+) %", line).group(1))
    if kind == "slow":
        name, wall_ms = re.match(r"slow callback: (\w+ \w+) took ([\d.]+) ms", line).groups()
        counts["named"] += name == "data http_data"
        ours = float(wall_ms) * percent / 100 >= float(sys.argv[2])
    else:
        ours = percent >= 50
    counts[kind] += 1
    counts[kind + "_ours"] += ours
    shown += 1
    if shown <= 10:
        print("# " + line.rstrip(), file=sys.stderr)
print(json.dumps(counts))
TOLD
}

# monitored LOOP WORKLOAD OPTION…
monitored() {
    start_server "$loopmark" serve --loop "$1" --workload "$2" \
        --monitor=lag,saturation,callbacks "${@:3}"
}

count=$(wc -w <<<"$loops")
for loop in $loops; do
    # The timer is late when it comes half an interval after its time.
    monitored "$loop" echo --monitor-threshold "${alarm_ms}ms" \
        --monitor-interval "$((2 * alarm_ms))ms"
    load "healthy_$loop" --rate 20000 -c 50 --warmup 500ms -d "$((seconds / count))s"
    end_server
    told "$alarm_ms" >"$folder/told.json"
    holds "no_false_alarms_$loop" '[between("slow callbacks of ours", t.slow_ours, 0, 0),
        between("saturations of ours", t.saturated_ours, 0, 0)]' t=told.json

    # Each request works for so long, one at a time: a slow callback and a saturation.
    for stall_ms in 20 120 600; do
        monitored "$loop" http --set work_us="${stall_ms}000" \
            --monitor-threshold "$((stall_ms * 3 / 4))ms" \
            --monitor-interval "$((stall_ms * 5 / 12))ms"
        for _ in $(seq 20); do
            "$python" -c 'import sys, urllib.request
urllib.request.urlopen(sys.argv[1]).read()' "http://$address/"
        done
        end_server
        told "$((stall_ms * 3 / 4))" >"$folder/told.json"
        holds "callbacks_found_${loop}_${stall_ms}ms" '[same("slow callbacks", t.slow_ours, 20),
            same("named", t.named, 20), same("saturations", t.saturated_ours, 20)]' t=told.json
    done

    monitored "$loop" echo
    sleep 0.3
    for _ in $(seq 10); do
        kill -STOP "$server_pid"
        sleep 0.3
        kill -CONT "$server_pid"
        sleep 0.3
    done
    end_server
    told "$alarm_ms" >"$folder/told.json"
    holds "stops_found_$loop" 'between("saturations", t.saturated, 10, 10)' t=told.json
    holds "stops_are_not_ours_$loop" 'between("blamed on the server", t.saturated_ours, 0, 0)' \
        t=told.json
done
finish
