#!/bin/bash
# The workload `database`: served on every loop to curl, ended while a query runs, and measured by
# `run`, which checks that each answer has the id that was asked for; in front of SQLite. No time
# and no rate is judged here.
# shellcheck source=tests/end_to_end/library.bash
. "$(dirname "$0")/library.bash"

export TMPDIR=$folder/temporary
mkdir "$TMPDIR"
unset LOOPMARK_DATABASE

# serve LOOP [KNOB=VALUE…]
serve() {
    local loop=$1 settings=()
    shift
    for setting in "$@"; do settings+=(--set "$setting"); done
    start server "$LOOPMARK" serve --loop "$loop" --workload database --listen 127.0.0.1:0 \
        "${settings[@]}"
}
# fetch PATH [ARGUMENTS]: the status in `code`, the body in body
fetch() {
    code=$(curl --silent --show-error --max-time 60 --output body --write-out '%{http_code}' \
        "http://$address$1" "${@:2}" 2>why)
}
# answers NAME CODE PATTERN PATH [ARGUMENTS]
answers() {
    fetch "${@:4}"
    [ "$code" = "$2" ] && grep -qE -e "$3" body
    result "$1" $? "$4: $code $(head -n 1 body) $(cat why)"
}

check_answers() {
    answers "$1/row" 200 '^17 [0-9]+ item 17 ' /row/17
    answers "$1/rows" 200 '^502 [0-9]+ item 502 ' /rows/500/3
    [ "$(wc -l <body)" -eq 500 ]
    result "$1/rows_all" $? "$(wc -l <body) lines"
    answers "$1/update" 200 '^17 [0-9]+ item 17 ' /update/17 --request POST
    answers "$1/slow" 200 '^5$' /slow/5
    answers "$1/missing" 404 'no such row' /row/10001
}

# ended NAME: told to end while a query runs; nothing stays behind
check_end() {
    curl --silent --max-time 60 "http://$address/slow/60000" >/dev/null &
    children+=($!)
    fetch /slow/100
    kill -TERM "$server_pid"
    await_end "$server_pid" 20
    [ "$status" = 0 ] && [ ! -s server.err ]
    result "$1/end" $? "status $status: $(cat server.err)"
    [ -z "$(ls "$TMPDIR")" ]
    result "$1/nothing_left" $? "left in the temporary folder: $(ls "$TMPDIR")"
}

check_loop() {
    if serve "$@" writes=yes; then
        check_answers "$1"
        check_end "$1"
    else
        not_ok "$1" "did not start: $(tail -n 1 server.err)"
    fi
}

# experiment DRIVER QUERY ACCESS
experiment() {
    cat <<EXPERIMENT
[experiment]
question = Does every answer belong to its request?
workload = database
server   = epoll
measure  = capacity
vary.pool_max = 3, 20
set.pool_min = 1
set.driver  = $1
set.query   = $2
set.access  = $3
set.writes  = yes
set.rows    = 20
set.connections = 12
set.warmup   = 20ms
set.duration = 200ms
repetitions  = 1
headline     = pool_max:3
EXPERIMENT
}

# check_run DRIVER QUERY ACCESS. `run --smoke` verifies, and takes the first cell.
check_run() {
    local name=$1-$2-$3
    experiment "$@" >"$name.ini"
    run_loopmark run --quiet --smoke "$name.ini" --out "$name"
    case $status in
    0 | 5) ok "$name/run" ;;
    *) not_ok "$name/run" "exit status $status: $(last_words)" ;;
    esac
    record "$name/record" run "$name/run.json" 'len(reps) == 1' \
        'all(x["requests"] > 0 and sum(x["errors"].values()) == 0 for x in reps)' \
        'all(x["server"]["workload"]["errors"] == 0 for x in reps)' \
        'all(x["server"]["workload"]["acquired"] >= x["requests"] for x in reps)' \
        'all(x["server"]["workload"]["wait_p99_ns"] >= 0 for x in reps)'
}

if ! serve epoll driver=sqlite; then
    if grep -qE 'not built|missing' server.err; then
        skip database "$(cat server.err)"
    else
        not_ok database "it does not start: $(cat server.err)"
    fi
    finish
fi
kill -TERM "$server_pid"
await_end "$server_pid" 20
if ! command -v curl >/dev/null; then
    skip curl "curl is missing"
else
    mapfile -t loops < <(available_loops)
    for loop in "${loops[@]}"; do check_loop "$loop" driver=sqlite; done
fi
for query in row rows update mix; do check_run sqlite "$query" pool; done
check_run sqlite row connection

# ---- what cannot be ------------------------------------------------------------------------------

listen=(--loop epoll --workload database --listen 127.0.0.1:0)
expect no_postgres 1 'LOOPMARK_DATABASE' serve "${listen[@]}" --set driver=postgres
LOOPMARK_DATABASE=nothing:x expect no_such_driver 1 'no database' serve "${listen[@]}"
LOOPMARK_DATABASE=sqlite:x expect wrong_database 1 'is of sqlite' serve "${listen[@]}" \
    --set driver=postgres

finish
