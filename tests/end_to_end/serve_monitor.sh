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
stolen='stolen by the host ([0-9]+ ms|unknown)'
time="$number (ns|µs|ms|s)"

serve_stalling --monitor --monitor-interval 20ms --monitor-task-threshold 1000s
fetch
stop_server all
told all/events \
    "slow callback: data http_data took $number ms, on the CPU [0-9]+ %, $stolen" \
    "event loop lag: $number ms" \
    "event loop saturation: expected 20\.0 ms, actual $number ms; on the CPU [0-9]+ %, .*"
# A stall of 120 ms is late for six ticks, and told once.
lines=$(grep -c '^event loop lag: ' server.err)
ticks=$(sed -n 's/^lag over 10 ms: //p' server.err)
[ "$((lines + 3))" -le "${ticks:-0}" ]
result all/a_line_for_a_stall $? "$lines lines of lag for ${ticks:-no} ticks"
told all/summary \
    "lag: [0-9]+, mean $time, p50 $time, p99 $time, p99.9 $time, max $time" \
    "lag over 10 ms: [1-9][0-9]*" \
    "saturation: [1-9][0-9]*" \
    "callbacks: [0-9]+, [1-9][0-9]* of them slow, max $time" \
    "passes: [1-9][0-9]*, mean $time, p50 $time, p99 $time, p99.9 $time, max $time" \
    "a pass: timers .*, then waiting .*, then io callbacks .*, then posts and closes .*" \
    "tasks: ([1-9][0-9]*) begun, \1 ended, 0 of them slow, 1 at a time at most"

serve_stalling --monitor=callbacks --monitor-threshold 1000s
fetch
stop_server high_threshold
told high_threshold/summary "callbacks: [1-9][0-9]*, 0 of them slow, max $time"
[ "$(wc -l <server.err)" -eq 1 ]
result high_threshold/nothing_else $? "more than one line: $(cat server.err)"

# Lag over time: a request that works for 120 ms is in the log, and the log in the picture.
serve_stalling --monitor=lag --monitor-interval 20ms --monitor-log lag.csv
fetch
sleep 0.2
stop_server log
log_is_sound() {
    "$python" - lag.csv <<'LOG'
import sys
lines = open(sys.argv[1]).read().splitlines()
rows = [tuple(map(float, line.split(","))) for line in lines[1:]]
assert lines[0] == "at_s,lag_ms" and len(rows) > 10, lines[:3]
assert all(a[0] <= b[0] for a, b in zip(rows, rows[1:])), "times go back"
stall = max(rows, key=lambda row: row[1])
assert stall[1] >= 80, f"the longest lag is {stall[1]} ms"
# What was due within the stall came at its end, all of it at the same time.
within = [at + lag / 1e3 for at, lag in rows if stall[0] <= at <= stall[0] + stall[1] / 1e3 - 0.01]
assert len(within) >= 4 and max(within) - min(within) < 0.02, within
LOG
}
log_is_sound 2>why
result log/rows $? "$(tail -n 1 why)"
if command -v gnuplot >/dev/null; then
    run_loopmark plot --lag lag.svg lag.csv
    [ "$status" -eq 0 ] && grep -q 'event loop lag over time' lag.svg && grep -q '>lag<' lag.svg
    result log/picture $? "status $status: $(last_words)"
else
    skip log/picture "gnuplot is not installed"
fi
printf 'at_s,lag_ms\n1,2\n2;3\n' >bad.csv
refused log/bad_row "bad.csv:3" plot --lag bad.png bad.csv
refused log/no_log "no log of" plot --lag bad.png why
refused log/no_picture "neither .png nor .svg" plot --lag bad.csv lag.csv

# Each echo is a task; under a limit of nothing each is slow.
start server "$LOOPMARK" serve --loop epoll --workload echo --listen 127.0.0.1:0 --monitor=tasks \
    --monitor-task-threshold 1ns
run_loopmark load "tcp://$address" -c 1 -n 10 --warmup 0 --quiet
stop_server tasks
told tasks/events "slow task: echo 0\.[0-9]+ s: sent"
told tasks/summary "tasks: ([0-9]+) begun, \1 ended, \1 of them slow, 1 at a time at most"

# Over HTTP each request is one, and a route tells its steps; pipelined ones are told apart, and a
# client that does not wait for its answer has gone.
start server "$LOOPMARK" serve --loop epoll --workload offload --listen 127.0.0.1:0 \
    --monitor=tasks --monitor-task-threshold 250ms
"$python" - "$address" <<'ASK'
import socket, struct, sys
host, port = sys.argv[1].rsplit(":", 1)
ask = lambda path: f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
peer = socket.create_connection((host, int(port)), 10)
peer.sendall(ask("/light") + ask("/sleep/400000") + ask("/light") + ask("/nowhere"))
got = b""
while got.count(b"HTTP/1.1 ") < 4 or not got.endswith(b"\r\n\r\n"):
    got += peer.recv(65536)
peer.sendall(ask("/sleep/2500000"))
peer.settimeout(0.5)
try:
    peer.recv(1)
except TimeoutError:
    pass
peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
peer.close()
ASK
sleep 1
stop_server http_tasks
task_s="[0-9.]+ s"
told http_tasks/events "slow task: request $task_s: back on the loop $task_s, answered" \
    "slow task: request [0-9.]+ s: client gone"
told http_tasks/summary "tasks: 5 begun, 5 ended, 2 of them slow, 1 at a time at most"

usage=(serve --loop epoll --workload echo --listen 127.0.0.1:0)
refused unknown_kind "'lags' is none of" "${usage[@]}" --monitor=lag,lags
refused no_kind "needs a name" "${usage[@]}" --monitor=
refused log_without_lag "needs --monitor=lag" "${usage[@]}" --monitor=tasks --monitor-log x.csv
refused too_often "monitor-interval" "${usage[@]}" --monitor --monitor-interval 1us
refused too_fast "monitor-threshold" "${usage[@]}" --monitor --monitor-threshold 1us
finish
