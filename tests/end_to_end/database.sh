#!/bin/bash
# The workload `database`: served on every loop to curl, ended while a query runs, and measured by
# `run`, which checks that each answer has the id that was asked for; in front of SQLite, and of a
# private PostgreSQL that `run` makes and removes. No time and no rate is judged here.
# shellcheck disable=SC2317 # `finish` in the middle does not make the rest unreachable
# shellcheck source=tests/end_to_end/library.bash
. "$(dirname "$0")/library.bash"

# A private PostgreSQL runs as another user where we are root.
export TMPDIR=$folder/temporary
mkdir -m 1777 "$TMPDIR"
chmod 755 "$folder"
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
set.timeout  = 20s
set.duration = 200ms
repetitions  = 1
headline     = pool_max:3
EXPERIMENT
}

# check_run DRIVER QUERY ACCESS. `run --smoke` verifies, and takes the first cell.
check_run() {
    local name=$1-$2-$3
    experiment "$@" >"$name.ini"
    run_until 'all(x["requests"] > 0 and x["server"]["workload"] for x in reps)' "$name" \
        --quiet --smoke "$name.ini"
    case $status in
    0 | 5) ok "$name/run" ;;
    *) not_ok "$name/run" "exit status $status: $(last_words)" ;;
    esac
    record "$name/record" run "$name/run.json" 'len(reps) == 1' \
        'all(x["requests"] > 0 and sum(x["errors"].values()) == 0 for x in reps)' \
        'all(x["server"]["workload"]["errors"] == 0 for x in reps)' \
        'all(x["server"]["workload"]["acquired"] >= x["requests"] for x in reps)' \
        'all(x["server"]["workload"]["wait_p99_ns"] >= 0 for x in reps)' "${@:4}"
}

# ---- in front of a private PostgreSQL ------------------------------------------------------------

# Ids of what works in the temporary folder: PostgreSQL writes its titles over its environment,
# where processes.py would look.
of_postgres() {
    local process
    for process in /proc/[0-9]*; do
        case $(readlink "$process/cwd" 2>/dev/null) in "$TMPDIR/"*) echo "${process#/proc/}" ;; esac
    done
}
nothing_left() { [ -z "$(of_postgres)" ] && [ -z "$(ls "$TMPDIR")" ]; }
check_nothing_left() {
    await 10 nothing_left
    result "$1/nothing_left" $? "left: $(of_postgres | tr '\n' ' ') $(ls "$TMPDIR")"
}

# What keeps a private PostgreSQL from running here, as `run` says it; empty if nothing does.
no_postgres() {
    experiment postgres row pool >probe.ini
    run_loopmark run --quiet --smoke probe.ini --out probe
    "$python" -c 'import json, sys
for row in json.load(open("probe/run.json"))["experiments"][0]["skipped"]: print(row["reason"])' |
        head -n 1
}

check_postgres() {
    for query in row rows update mix; do
        check_run postgres "$query" pool 'r["database"]["source"] == "private"' \
            'r["database"]["settings"]["fsync"] == "off"' \
            'r["database"]["cpus"] == r["pinning"]["server_cpus"]'
    done
    check_run postgres row connection 'r["database"]["version"]'
    grep -q 'the database was PostgreSQL [0-9]' postgres-row-pool/report.md
    result postgres/report $? "the report does not name the database"
    check_nothing_left postgres
}

is_measuring() { [ -n "$(of_postgres)" ] && grep -q '^\[[1-9]' "$1.err"; }

is_starting() { [ -n "$(ls "$TMPDIR")" ]; }

# check_interrupt NAME SIGNAL STATUS WHEN: WHEN is is_starting or is_measuring
check_interrupt() {
    experiment postgres row pool >long.ini
    background "$1" run long.ini --repetitions 200 --out "$1"
    await 60 "$4" "$1"
    result "$1/$4" $? "$(tail -n 1 "$1.err")"
    kill "-$2" "$pid"
    await_end "$pid" 20
    [ "$status" = "$3" ]
    result "$1/status" $? "$status, expected $3: $(tail -n 1 "$1.err")"
    check_nothing_left "$1"
}

# One of the user's own: its rows are only changed by permission, and it has to answer.
check_given() {
    local target
    background own postgres
    await 60 test -s own.out
    target=$(cat own.out)
    experiment postgres row pool | sed 's/^set.writes.*//' >given.ini
    run_loopmark run --quiet --smoke given.ini --db-url "$target" --out given
    record given/record run given/run.json 'len(reps) == 1' 'reps[0]["requests"] > 0' \
        'r["database"]["source"] == "given"' 'r["database"]["cpus"] is None'
    experiment postgres update pool >writing.ini
    run_loopmark run --quiet --smoke writing.ini --db-url "$target" --out reading
    record given/not_written run reading/run.json 'reps == []' \
        '"--db-writes" in r["experiments"][0]["skipped"][0]["reason"]'
    run_loopmark run --quiet --smoke writing.ini --db-url "$target" --db-writes --out writing
    record given/written run writing/run.json 'len(reps) == 1' 'reps[0]["requests"] > 0'
    kill -INT "$pid"
    await_end "$pid" 20
    expect given/does_not_answer 1 'PostgreSQL' run --quiet --smoke given.ini --db-url "$target" \
        --out silent
    check_nothing_left given
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

missing=$(no_postgres)
if [ -n "$missing" ]; then
    skip postgres "$missing"
else
    check_postgres
    check_interrupt interrupted_early INT 130 is_starting
    check_interrupt interrupted INT 130 is_measuring
    check_interrupt killed KILL 137 is_measuring
    check_given
fi

# ---- what cannot be ------------------------------------------------------------------------------

listen=(--loop epoll --workload database --listen 127.0.0.1:0)
expect no_postgres 1 'LOOPMARK_DATABASE' serve "${listen[@]}" --set driver=postgres
LOOPMARK_DATABASE=nothing:x expect no_such_driver 1 'no database' serve "${listen[@]}"
LOOPMARK_DATABASE=sqlite:x expect wrong_database 1 'is of sqlite' serve "${listen[@]}" \
    --set driver=postgres
experiment sqlite row pool >plain.ini
refused password 'PGPASSWORD' run plain.ini --db-url postgresql://user:secret@localhost/name
refused not_postgres 'sqlite' run plain.ini --db-url sqlite:x
refused writes_alone 'db-url' run plain.ini --db-writes

finish
