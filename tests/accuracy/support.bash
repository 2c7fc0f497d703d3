#!/bin/bash
# support.bash: what the timing oracles share; they source it from the top of the checkout.
#
# Servers run on CPU 0 and the generator on CPU 1. Every process that is started here is ended by
# its pid when the oracle ends, however it ends. The last command of an oracle is `finish`.

python=/usr/bin/python3
loopmark=${LOOPMARK:-build/loopmark}
folder=$(mktemp -d) || exit 1
awake=(--keep-awake 0-1) # or each wake-up is the host's to delay
server_pid=
hog_pid=
failures=0

ok() { echo "ok $1"; }
skip() { echo "skip $1: $2"; }
not_ok() {
    echo "not ok $1: $2"
    failures=$((failures + 1))
}

# end_process PID: it may be stopped, or gone.
end_process() {
    kill -CONT "$1" 2>/dev/null
    kill -TERM "$1" 2>/dev/null
    for _ in $(seq 100); do
        # A zombie has ended too: only `wait` removes it.
        grep -qs '^State:[[:space:]]*[^Z[:space:]]' "/proc/$1/status" || break
        sleep 0.02
    done
    kill -KILL "$1" 2>/dev/null
    wait "$1" 2>/dev/null
}
end_server() {
    [ -n "$server_pid" ] && end_process "$server_pid"
    server_pid=
}
end_hog() {
    [ -n "$hog_pid" ] && end_process "$hog_pid"
    hog_pid=
}
trap 'end_server; end_hog; rm -rf "$folder"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

finish() { exit $((failures > 0)); }

# needs CASE…: skips all of them and ends when this machine cannot show what they ask.
needs() {
    local reason='' name
    if ! command -v taskset >/dev/null; then
        reason="taskset is not installed"
    elif ! taskset -c 0 true 2>/dev/null || ! taskset -c 1 true 2>/dev/null; then
        reason="it takes CPU 0 for the server and CPU 1 for the generator"
    elif [ ! -x "$python" ]; then
        reason="$python is not installed"
    fi
    for name in "$@"; do [ -z "$reason" ] || skip "$name" "$reason"; done
    [ -z "$reason" ] || exit 0
    [ -x "$loopmark" ] && return
    not_ok "$1" "there is no $loopmark"
    finish
}

# compile NAME: tests/accuracy/servers/NAME.c to $folder/NAME. Servers share nothing with what is
# measured, so they are no part of its build either.
compile() {
    "${CC:-cc}" -std=gnu11 -D_GNU_SOURCE -O2 -o "$folder/$1" \
        "tests/accuracy/servers/$1.c" tests/accuracy/servers/raw_echo.c && return
    not_ok "compile_$1" "the compiler failed"
    finish
}

# start_server COMMAND…: with --listen added; sets server_pid and address, or ends the oracle.
start_server() {
    : >"$folder/server.out" # or the address of the one before is read
    taskset -c 0 "$@" --listen 127.0.0.1:0 >"$folder/server.out" 2>"$folder/server.err" &
    server_pid=$!
    address=
    for _ in $(seq 200); do
        address=$(sed -n 's/^listening on //p' "$folder/server.out")
        [ -n "$address" ] && return
        kill -0 "$server_pid" 2>/dev/null || break
        sleep 0.05
    done
    not_ok start_server "$* does not listen: $(tail -n 1 "$folder/server.err")"
    finish
}
serve() { start_server "$loopmark" serve --loop epoll --workload echo; }

# load NAME OPTION…: loads the server, one that echoes unless $scheme is set; its JSON goes to
# $folder/NAME.json, its exit status to $load_status. What makes it invalid is shown, and is for the
# checks to judge.
load() {
    local name=$1
    shift
    "$loopmark" load "${scheme:-tcp}://$address" --cpus 1 "${awake[@]}" --json --quiet "$@" \
        >"$folder/$name.json" 2>"$folder/$name.err"
    load_status=$?
    case $load_status in
    0) ;;
    5)
        sed -n "/\"invalid\": \[/,/\]/s/^ *\"\([^\"]* .*\)\",*$/# $name: \1/p" "$folder/$name.json"
        ;;
    *) echo "# $name: $(tail -n 1 "$folder/$name.err")" ;;
    esac
}

# while again NAME; do …; done: measures NAME.json once more while it is not valid, since that says
# nothing of a machine that did something else meanwhile. Three times at most.
declare -A tries
again() {
    local tried=${tries[$1]:-0}
    [ "$tried" -eq 0 ] || ! grep -q '^  "valid": true' "$folder/$1.json" || return 1
    tries[$1]=$((tried + 1))
    [ "$tried" -lt 3 ]
}

# start_hog CPU SECONDS: something that takes all it gets of that CPU, for so long at most.
start_hog() {
    taskset -c "$1" "$python" -c "
import time
end = time.monotonic() + $2
while time.monotonic() < end: pass" &
    hog_pid=$!
}

# holds CASE EXPRESSION NAME=FILE.json|NAME=NUMBER…: see check.py. Files are those of $folder.
holds() {
    "$python" tests/accuracy/check.py "$folder" "$@" || failures=$((failures + 1))
}
