#!/bin/bash
# library.bash: what the end-to-end tests of the program share. Sourced, never run.
#
# Gives LOOPMARK and LOOPMARK_SOURCE their defaults, makes $folder (removed at the end) and goes
# there. All that a test starts carries $folder in its environment, so that what is left behind is
# found. The texts of the latest command are in the files out and err.
set -u
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd) || exit 1
export LOOPMARK_SOURCE=${LOOPMARK_SOURCE:-$(cd "$here/../.." && pwd)}
export LOOPMARK=${LOOPMARK:-$LOOPMARK_SOURCE/build/loopmark}
python=/usr/bin/python3
# shellcheck disable=SC2034 # of those who source this
experiments=$LOOPMARK_SOURCE/harness/experiments

folder=$(mktemp -d) || exit 1
cd "$folder" || exit 1
export LOOPMARK_TEST=$folder
failures=0
children=()
mounted=

# Also for a test that was interrupted: nothing stays.
clean_up() {
    local pid
    for pid in "${children[@]}" $("$python" "$here/processes.py"); do
        kill -KILL "$pid" 2>/dev/null
    done
    wait 2>/dev/null
    [ -n "$mounted" ] && umount "$mounted"
    cd / && rm -rf "$folder"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

if [ ! -x "$python" ]; then
    echo "skip ${0##*/}: python3 is missing"
    exit 0
fi
if [ ! -x "$LOOPMARK" ]; then
    echo "not ok ${0##*/}: there is no $LOOPMARK"
    exit 1
fi

# ---- how a case went -----------------------------------------------------------------------------

ok() { echo "ok $1"; }
skip() { echo "skip $1: $2"; }
not_ok() {
    echo "not ok $1: $2"
    failures=$((failures + 1))
}
# result NAME STATUS WHY
result() { if [ "$2" -eq 0 ]; then ok "$1"; else not_ok "$1" "$3"; fi; }

# The end of every test program.
finish() {
    local left
    for _ in $(seq 100); do # what was told to end may need a moment
        left=$("$python" "$here/processes.py")
        [ -z "$left" ] && break
        sleep 0.05
    done
    result no_process_left "${#left}" "still running: $left"
    [ "$failures" -eq 0 ]
    exit
}

# ---- commands ------------------------------------------------------------------------------------

# run_loopmark ARGUMENTS: its exit status in `status`, its texts in out and err.
run_loopmark() {
    timeout --kill-after=2 60 "$LOOPMARK" "$@" >out 2>err
    status=$?
}

# run_until CONDITION FOLDER ARGUMENTS: `run` into FOLDER, again at most seven times until the
# condition (Python) holds for its record: in the instant that a test measures, a server on a busy
# machine may not get to run at all.
run_until() {
    local condition=$1 out=$2
    shift 2
    for _ in 1 2 3 4 5 6 7 8; do
        rm -rf "$out"
        run_loopmark run "$@" --out "$out"
        "$python" "$here/check_record.py" run "$out/run.json" "$condition" >why 2>&1 && return
    done
}

last_words() { tail -n 1 err; }

# expect NAME STATUSES PATTERN ARGUMENTS: ends with one of STATUSES ("1" or "0 5"), and PATTERN
# (extended, any case; may be empty) is in what it says on stderr.
expect() {
    local name=$1 statuses=$2 pattern=$3
    shift 3
    run_loopmark "$@"
    case " $statuses " in
    *" $status "*) ;;
    *)
        not_ok "$name" "exit status $status, expected $statuses: $(last_words)"
        return 1
        ;;
    esac
    if [ -n "$pattern" ] && ! grep -qiE -e "$pattern" err; then
        not_ok "$name" "'$pattern' is not in its message: $(cat err)"
        return 1
    fi
    ok "$name"
}

# refused NAME PATTERN ARGUMENTS: bad usage; nothing on stdout
refused() {
    local name=$1
    if expect "$name/message" 2 "$2" "${@:3}"; then
        [ ! -s out ]
        result "$name/nothing_on_stdout" $? "stdout has $(head -n 1 out)"
    fi
}

# record NAME load|run FILE [CONDITION…]: FILE is as results/README.md says, and the conditions
# (Python, about `r`) hold.
record() {
    local name=$1 why
    shift
    why=$("$python" "$here/check_record.py" "$@" 2>&1)
    result "$name" $? "$(tail -n 1 <<<"$why")"
}

# load_until NAME STATUSES CONDITION ARGUMENTS: `load` ends with one of STATUSES ("1" or "0 5"), and
# the condition (Python, about `r`) holds for its record. One that lasts for some time (-d) is tried
# again for longer: in an instant on a busy machine it may be that nothing happens.
load_until() {
    local name=$1 statuses=$2 condition=$3 longer
    shift 3
    run_loopmark load "$@"
    for longer in 2s 5s; do
        [[ " $* " = *" -d "* ]] || break
        [[ " $statuses " = *" $status "* ]] &&
            "$python" "$here/check_record.py" load out "$condition" >why 2>&1 && break
        run_loopmark load "$@" -d $longer
    done
    if [[ " $statuses " = *" $status "* ]]; then
        ok "$name/status"
        record "$name" load out "$condition"
    else
        not_ok "$name/status" "exit status $status, expected $statuses: $(last_words)"
    fi
}

# ---- processes -----------------------------------------------------------------------------------

# await SECONDS COMMAND: repeats it until it succeeds; fails when it did not within SECONDS.
await() {
    local tries=$(($1 * 20))
    shift
    for _ in $(seq "$tries"); do
        "$@" && return 0
        sleep 0.05
    done
    return 1
}

# A zombie of ours has ended too: only `wait` removes it.
has_ended() { ! grep -qs '^State:[[:space:]]*[^Z[:space:]]' "/proc/$1/status"; }

# await_end PID SECONDS: its exit status in `status`, or "running" (it is killed then).
await_end() {
    if await "$2" has_ended "$1"; then
        wait "$1" 2>/dev/null
        status=$?
    else
        kill -KILL "$1" 2>/dev/null
        wait "$1" 2>/dev/null
        status=running
    fi
}

announced() { address=$(sed -n 's/^listening on //p' "$1.out" 2>/dev/null) && [ -n "$address" ]; }
ready_or_ended() { announced "$1" || has_ended "$2"; }

# start NAME COMMAND: a server in the background, with its texts in NAME.out and NAME.err; sets
# `server_pid` and `address`.
start() {
    local name=$1
    shift
    rm -f "$name.out" # or what a former one announced could be read
    "$@" >"$name.out" 2>"$name.err" &
    server_pid=$!
    children+=("$server_pid")
    await 10 ready_or_ended "$name" "$server_pid"
    announced "$name"
}
start_loop() { start server "$LOOPMARK" serve --loop "$1" --workload echo --listen "$2"; }
start_faulty() { start faulty "$python" "$here/faulty_server.py" "$1" "${2-127.0.0.1:0}"; }

# background NAME ARGUMENTS: the program in the background, with its texts in NAME.out and NAME.err;
# sets `pid`.
background() {
    local name=$1
    shift
    "$LOOPMARK" "$@" >"$name.out" 2>"$name.err" &
    pid=$!
    children+=("$pid")
}

# end PID: at once
end() {
    kill -KILL "$1" 2>/dev/null
    wait "$1" 2>/dev/null
}

# Has this process used so much CPU time (in ticks of 10 ms)? Then a load on it is well under way.
has_worked() {
    local stat
    stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
    read -r -a stat <<<"${stat##*) }"
    [ $((stat[11] + stat[12])) -ge "$2" ]
}

# url ADDRESS: as `load` wants it
url() { case $1 in unix:*) echo "$1" ;; *) echo "tcp://$1" ;; esac; }

has_ipv6() { [ -e /proc/net/if_inet6 ] && grep -qw lo /proc/net/if_inet6; }

# The loops that can run here, one a line.
available_loops() {
    "$LOOPMARK" list --json | "$python" -c 'import json, sys
for loop in json.load(sys.stdin)["loops"]:
    if loop["available"] and not loop["control"]:
        print(loop["name"])'
}
