#!/bin/bash
# stall.sh: a server that stands still for a second of ten shows in an open loop's response times
# just as it must, and hides from service times and from a closed loop (coordinated omission): an
# echo server over TCP, and nginx over HTTP.
#
# Requests come at a constant rate, and during a stop each waits for its end: what that makes of the
# quantiles is computed in stall.py from when the server was told to stop and to go on, and
# from the rate at which it then works off what has waited, which is what a closed loop gets from
# it. Service times know of the stop only from the few requests that were under way, one on each
# connection. `make bench-stall` shows what other generators say of it.
#
# Prints `ok NAME`, `not ok NAME: why` or `skip NAME: why`; exit status 1 if anything was not ok.
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/accuracy/support.bash

needs echo_p50 echo_p95 echo_p99 echo_p999 http_p50 http_p95 http_p99 http_p999

# stalled NAME OPTION…: stops the server 5 s into the window, half a second of warm-up later.
stalled() {
    local stall_pid
    "$python" tests/accuracy/stall.py "$server_pid" 5.5 1 >"$folder/$1.stop.json" &
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

undisturbed() {
    while again "$1"; do load "$1" --rate 1000 --warmup 500ms -d 10s -c 50 --timeout 5s; done
}

# check_stall NAME: of the server that listens at $address. The machine's own speed drifts, so p50
# is compared with what it was before and after.
check_stall() {
    local name=$1 quantile
    load "$name"_drain -d 1s -c 50
    undisturbed "$name"_before
    while again "$name"_open; do stalled "$name"_open --rate 1000; done
    undisturbed "$name"_after
    holds "$name"_p50 'within("p50", r.response_ns.p50,
        (a.response_ns.p50 + b.response_ns.p50) / 2, 30000)' \
        r="$name"_open.json a="$name"_after.json b="$name"_before.json
    for quantile in p95=0.95 p99=0.99 p999=0.999; do
        holds "${name}_${quantile%=*}" "within('response', r.response_ns.${quantile%=*},
            (implied := implied_ns(${quantile#*=}, s.stopped_ns, r.window_ns, r.offered_rate,
                d.achieved_rate)), 0.01 * implied)" \
            r="$name"_open.json s="$name"_open.stop.json d="$name"_drain.json
    done
    stalled "$name"_closed
    echo "# $name: $(cat "$folder/${name}_open.stop.json")"
    show "$name"_before response_ns
    show "$name"_after response_ns
    show "$name"_open response_ns
    show "$name"_open service_ns
    show "$name"_closed service_ns
}

serve
check_stall echo
end_server

scheme=http
if [ -x /usr/sbin/nginx ]; then
    TMPDIR=$folder start_server "$python" tests/accuracy/servers/nginx.py
    check_stall http
else
    for quantile in p50 p95 p99 p999; do skip http_$quantile "nginx is not installed"; done
fi
finish
