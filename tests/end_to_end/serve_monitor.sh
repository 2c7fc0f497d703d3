#!/bin/bash
# `serve --monitor`: what it tells of a server that stalls, as lines on stderr. That what is told is
# true is for tests/conformance/test_monitor.c and tests/accuracy/monitors.sh; here it is that the
# lines come, and only those asked for.
# shellcheck source=tests/end_to_end/library.bash
. "$(dirname "$0")/library.bash"

serve_stalling() {
    start server "$LOOPMARK" serve --loop epoll --workload http --listen 127.0.0.1:0 \
        --set work_us=120000 "$@"
}
fetch() {
    "$python" -c 'import sys, urllib.request
urllib.request.urlopen(sys.argv[1], timeout=20).read()' "http://$address/"
}
stop_server() {
    kill -TERM "$server_pid"
    await_end "$server_pid" 10
    result "$1/ends" "$([ "$status" = 0 ]; echo $?)" "exit status $status: $(tail -n 1 server.err)"
}
# told NAME PATTERN…: each pattern (extended) is a whole line on stderr
told() {
    local name=$1 pattern
    shift
    for pattern in "$@"; do
        grep -qxE -e "$pattern" server.err && continue
        not_ok "$name" "no line is '$pattern': $(cat server.err)"
        return
    done
    ok "$name"
}

number='[0-9]+(\.[0-9]+)?'
time="$number (ns|µs|ms|s)"

serve_stalling --monitor --monitor-interval 20ms
fetch
stop_server all
told all/events \
    "slow callback: data http_data took $number ms, on the CPU [0-9]+ %" \
    "event loop lag: $number ms" \
    "event loop saturation: expected 20\.0 ms, actual $number ms; on the CPU [0-9]+ %, .*"
told all/summary \
    "lag: [0-9]+, mean $time, p50 $time, p99 $time, max $time" \
    "lag over 10 ms: [1-9][0-9]*" \
    "saturation: [1-9][0-9]*" \
    "callbacks: [0-9]+, [1-9][0-9]* of them slow, max $time" \
    "passes: [1-9][0-9]*, mean $time, p50 $time, p99 $time, max $time" \
    "a pass: timers .*, then waiting .*, then io callbacks .*, then posts and closes .*" \
    "tasks: 0 begun, 0 ended, 0 of them slow, 0 at a time at most"

serve_stalling --monitor=callbacks --monitor-threshold 1000s
fetch
stop_server high_threshold
told high_threshold/summary "callbacks: [1-9][0-9]*, 0 of them slow, max $time"
[ "$(wc -l <server.err)" -eq 1 ]
result high_threshold/nothing_else $? "more than one line: $(cat server.err)"

# Each echo is a task; under a limit of nothing each is slow.
start server "$LOOPMARK" serve --loop epoll --workload echo --listen 127.0.0.1:0 --monitor=tasks \
    --monitor-task-threshold 1ns
run_loopmark load "tcp://$address" -c 1 -n 10 --warmup 0 --quiet
stop_server tasks
told tasks/events "slow task: echo 0\.[0-9]+ s: sent"
told tasks/summary "tasks: ([0-9]+) begun, \1 ended, \1 of them slow, 1 at a time at most"

usage=(serve --loop epoll --workload echo --listen 127.0.0.1:0)
refused unknown_kind "'lags' is none of" "${usage[@]}" --monitor=lag,lags
refused no_kind "needs a name" "${usage[@]}" --monitor=
refused too_often "monitor-interval" "${usage[@]}" --monitor --monitor-interval 1us
refused too_fast "monitor-threshold" "${usage[@]}" --monitor --monitor-threshold 1us
finish
