#!/bin/bash
# database_lag.sh: a loop does not block while the database is slow. Its lag is measured by a timer
# of the server, once a millisecond: the p99.9 while 200 requests a second each ask for a query that
# waits for 50 ms, ten at a time, is at most 1 ms over that of a server of the same kind that has
# nothing to do. Both run at the same time and on the same CPU, so that a machine that holds one up
# holds up the other. PostgreSQL runs on the generator's CPU: as they start, its processes would
# hold up both. What hits only one of them is not there each time, so it is tried three times at
# most. Loops that block are late by 50 ms, each time; where one with nothing to do is late by more
# than 10 ms itself, that one is no better says nothing, and it is skipped.
#
# LAG_LOOPS are the loops; LAG_SECONDS is how long each of the measurements lasts, 10 s.
#
# Prints `ok NAME`, `not ok NAME: why` or `skip NAME: why`; exit status 1 if anything was not ok.
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/accuracy/support.bash

loops=${LAG_LOOPS:-epoll libuv io_uring}
seconds=${LAG_SECONDS:-10}
tries_most=3
idle_most_ms=10
needs sqlite postgres

# available LOOP: as `list` says.
available() {
    "$loopmark" list --json | "$python" -c "import json, sys
sys.exit(not any(l['name'] == '$1' and l['available'] for l in json.load(sys.stdin)['loops']))"
}

postgres_pid=
idle_pid=
trap 'end_server
[ -z "$idle_pid" ] || end_process "$idle_pid"
[ -z "$postgres_pid" ] || end_process "$postgres_pid"
rm -rf "$folder"' EXIT

# Sets LOOPMARK_DATABASE, or fails.
start_postgres() {
    taskset -c 1 "$loopmark" postgres >"$folder/postgres.out" 2>"$folder/postgres.err" &
    postgres_pid=$!
    for _ in $(seq 600); do
        LOOPMARK_DATABASE=$(head -n 1 "$folder/postgres.out")
        export LOOPMARK_DATABASE
        [ -n "$LOOPMARK_DATABASE" ] && return
        kill -0 "$postgres_pid" 2>/dev/null || break
        sleep 0.05
    done
    return 1
}

# lag_ms FILE: the p99.9 that a server's monitor told when it ended.
lag_ms() {
    "$python" - "$folder/$1" <<'LAG'
import re, sys
units = {"ns": 1e-6, "µs": 1e-3, "ms": 1, "s": 1000}
text = open(sys.argv[1], encoding="utf-8").read()
number, unit = re.search(r"^lag: .* p99\.9 ([\d.,]+) (\S+), max", text, re.M).groups()
print(float(number.replace(",", "")) * units[unit])
LAG
}

# start_monitored LOOP DRIVER
start_monitored() {
    start_server "$loopmark" serve --loop "$1" --workload database --set driver="$2" \
        --set pool_max=20 --set db_threads=20 --monitor=lag --monitor-interval 1ms
}

# measure LOOP DRIVER: sets idle_ms and slow_ms.
measure() {
    start_monitored "$@"
    idle_pid=$server_pid
    mv "$folder/server.err" "$folder/idle.err"
    start_monitored "$@"
    scheme=http address=$address/slow/50 load "$1_$2" -c 50 --rate 200 --no-spin --warmup 0s \
        -d "${seconds}s"
    end_server
    end_process "$idle_pid"
    idle_pid=
    idle_ms=$(lag_ms idle.err)
    slow_ms=$(lag_ms server.err)
    echo "# $2_$1: lag p99.9 $idle_ms ms with nothing to do, $slow_ms ms during slow queries"
}

# is EXPRESSION: of numbers
is() { "$python" -c "import sys; sys.exit(not ($1))"; }

check() {
    for _ in $(seq "$tries_most"); do
        measure "$@"
        is "$idle_ms <= $idle_most_ms and $slow_ms <= $idle_ms + 1" && break
    done
    if is "$idle_ms > $idle_most_ms and $slow_ms <= $idle_ms + 1"; then
        skip "$2_$1" "the machine held up a loop with nothing to do for $idle_ms ms"
        return
    fi
    holds "$2_$1" "[same('errors', sum(vars(r.errors).values()), 0),
        between('queries', r.requests, $seconds * 198, $seconds * 202),
        between('ms over an idle loop', slow - idle, -1e9, 1)]" \
        r="$1_$2.json" idle="$idle_ms" slow="$slow_ms"
}

drivers=(sqlite)
if start_postgres; then
    drivers+=(postgres)
else
    skip postgres "$(tail -n 1 "$folder/postgres.err")"
fi
for loop in $loops; do
    for driver in "${drivers[@]}"; do
        if available "$loop"; then
            check "$loop" "$driver"
        else
            skip "${driver}_$loop" "it cannot run here"
        fi
    done
done
finish
