#!/bin/bash
# stall.sh: a server that stands still for a second of ten shows in an open loop's response times
# just as it must, and hides from service times and from a closed loop (coordinated omission).
#
# Requests come at a constant rate over a window W, and during a stop of length D each waits for its
# end: a share (D - x) / W of all takes longer than x, so the quantile q is D - (1 - q) W. Service
# times know of the stop only from the few requests that were under way, one on each connection.
#
# Prints `ok NAME`, `not ok NAME: why` or `skip NAME: why`; exit status 1 if anything was not ok.
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/accuracy/support.bash

needs p50 p95 p99 p999

# stalled NAME OPTION…: stops the server 5 s into the window, half a second of warm-up later.
stalled() {
    local stall_pid
    "$python" tests/accuracy/stall.py "$server_pid" 5.5 1 >"$folder/stop.json" &
    stall_pid=$!
    load "$@" --warmup 500ms -d 10s -c 50 --timeout 5s
    wait "$stall_pid"
}

show() {
    "$python" - "$1" "$folder/$1.json" "$2" <<'SHOW'
import json, sys
name, path, kind = sys.argv[1:]
times = json.load(open(path))[kind]
shown = [f"{q} {times[q] / 1e6:.3f}" for q in ("p50", "p95", "p99", "p999", "max") if times[q]]
print(f"# {name} {kind} in ms: {', '.join(shown)}")
SHOW
}

serve
while again undisturbed; do
    load undisturbed --rate 1000 --warmup 500ms -d 10s -c 50 --timeout 5s
done
while again open; do stalled open --rate 1000; done
holds p50 'between("p50", r.response_ns.p50, 0,
    max(u.response_ns.p50 + 30000, 2 * u.response_ns.p50))' r=open.json u=undisturbed.json
for quantile in p95=0.95 p99=0.99 p999=0.999; do
    holds "${quantile%=*}" "within('response', r.response_ns.${quantile%=*},
        s.stopped_ns - (1 - ${quantile#*=}) * r.window_ns,
        0.02 * (s.stopped_ns - (1 - ${quantile#*=}) * r.window_ns))" r=open.json s=stop.json
done

stalled closed
show undisturbed response_ns
show open response_ns
show open service_ns
show closed service_ns
finish
