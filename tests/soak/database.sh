#!/bin/bash
# database.sh: does every answer belong to its request? SOAK_REQUESTS of them (6,000) go on 200
# connections to the workload `database` in front of a PostgreSQL: on every loop, with pools of 1 to
# 50 connections, one query at a time on each of them and several, HTTP pipelined and not; and to
# PostgreSQL itself, by the ids that were asked for. An answer of HTTP has to be, byte by byte, what
# the first one to the same request was; there are so many kinds of requests that each is asked for
# some twenty times, and if the first one was another's, the others differ from it.
# shellcheck disable=SC2317 # functions that `await` calls
# shellcheck source=tests/end_to_end/library.bash
. "$(dirname "$0")/../end_to_end/library.bash"

requests=${SOAK_REQUESTS:-6000}
case $requests in '' | *[!0-9]*) requests=0 ;; esac
if [ "$requests" -lt 1000 ]; then
    not_ok usage "SOAK_REQUESTS is at least 1000, not '$SOAK_REQUESTS'"
    finish
fi
unset PGHOST PGPORT PGUSER PGDATABASE PGPASSWORD PGDATA
has_target() { [ -s postgres.out ] || has_ended "$pid"; }
background postgres postgres --max-connections 250
await 60 has_target
LOOPMARK_DATABASE=$(cat postgres.out)
export LOOPMARK_DATABASE
if [ -z "$LOOPMARK_DATABASE" ]; then
    skip database "$(tail -n 1 postgres.err)"
    finish
fi
owner=$pid

# A pool of SIZE with DEPTH queries on a connection, asked with FLIGHT requests on each of ours: a
# long test has them all on every loop, a short one two on each, of which one is pipelined.
pools=("1 1 1" "50 8 4" "7 1 4" "20 4 1" "33 1 1" "3 8 1" "50 1 1" "2 16 4" "12 1 4" "1 8 1"
    "25 1 1" "5 2 4")
cells=()
turn=0
available=$(available_loops)
for loop in select poll epoll epoll-et libuv io_uring; do
    grep -qx -e "$loop" <<<"$available" || continue
    if [ "$requests" -ge 100000 ]; then
        cells+=("${pools[@]/#/$loop }")
    else
        cells+=("$loop ${pools[turn]}" "$loop ${pools[turn + 1]}")
    fi
    turn=$((turn + 2))
done
each=$(((requests + ${#cells[@]} + 1) / (${#cells[@]} + 2)))

# Distinct rows and ranges of rows, each to be asked for some twenty times.
"$python" - "$each" >asked.txt <<'KINDS'
import random, sys
kinds = max(8, min(1000, int(sys.argv[1]) // 20))
ids = random.Random(1).sample(range(1, 9981), kinds)
for k, i in enumerate(ids):
    print(f"1 GET /rows/20/{i}" if k % 8 == 7 else f"1 GET /row/{i}")
KINDS

told=0
# all_right NAME TARGET ARGUMENTS: as many answers as there were requests, each the right one
all_right() {
    local name=$1
    timeout --kill-after=5 1800 "$LOOPMARK" load "$2" -n "$each" --timeout 60s --warmup 0s \
        --verify --json --quiet "${@:3}" >out 2>err
    status=$?
    case $status in
    0 | 5) ;;
    *) not_ok "$name" "exit status $status: $(last_words)" ;;
    esac
    record "$name" load out "r['requests'] == $each" 'sum(r["errors"].values()) == 0' \
        'r["causes"] == []'
    told=$((told + each))
}

check_cell() {
    local loop=$1 size=$2 depth=$3 flight=$4 name=$1/pool_$2/depth_$3/flight_$4
    if ! start served "$LOOPMARK" serve --loop "$loop" --workload database --listen 127.0.0.1:0 \
        --set pool_min=1 --set "pool_max=$size" --set "pipeline_depth=$depth"; then
        not_ok "$name" "it does not start: $(cat served.err)"
        return
    fi
    all_right "$name" "http://$address/" -c 200 --mix asked.txt --pipeline "$flight"
    kill -TERM "$server_pid"
    await_end "$server_pid" 60
    [ "$status" = 0 ] && [ ! -s served.err ]
    result "$name/end" $? "status $status: $(cat served.err)"
}

for cell in "${cells[@]}"; do
    # shellcheck disable=SC2086 # its words
    check_cell $cell
done
direct=$((requests >= 100000 ? 200 : 40)) # each of them costs a process of PostgreSQL
all_right "postgresql/row" "$LOOPMARK_DATABASE" -c $direct
all_right "postgresql/rows" "$LOOPMARK_DATABASE" -c $direct --pipeline 8 --set query=rows \
    --set rows=20
[ "$failures" -gt 0 ] || echo "$told answers, each to its request"
kill -TERM "$owner"
await_end "$owner" 20
finish
