#!/bin/bash
# The knob `resolve`: a host name is looked up once, or for each connection; strace has the last
# word on how often. A private mount namespace has a file of names that changes while it is read.
# shellcheck source=tests/end_to_end/library.bash
. "$(dirname "$0")/library.bash"

if ! "$LOOPMARK" load http://127.0.0.1:1/ -n 1 -q 2>&1 | grep -q 'refused'; then
    skip load_resolve "built without llhttp"
    finish
fi
if ! getent -s files ahostsv4 localhost | grep -q '^127\.0\.0\.1 '; then
    skip load_resolve "localhost is not 127.0.0.1 here"
    finish
fi

start server "$LOOPMARK" serve --loop epoll --workload http --listen 127.0.0.1:0
port=${address##*:}
quick=(--warmup 20ms --timeout 20s --quiet --json)
no_errors='sum(r["errors"].values()) == 0'

# load NAME URL CONDITION ARGUMENTS
load() {
    local name=$1 target=$2 condition=$3
    shift 3
    load_until "$name" '0 5' "$condition" "$target" "${quick[@]}" "$@"
}

# Where the window begins or ends, a few connections are counted on one side only; so may be the one
# whose look-up took longest.
each="abs(r['resolve_ns']['count'] - r['connect_ns']['count']) <= 8 and
    r['resolve_ns']['count'] > 20 and 0 < r['resolve_ns']['mean'] <= r['resolve_ns']['max'] and
    r['resolve_ns']['mean'] * r['resolve_ns']['count'] - r['resolve_ns']['max'] <
        r['connect_ns']['mean'] * r['connect_ns']['count']"
load once "http://localhost:$port/" "$no_errors and r['resolve_ns'] is None and
    r['reconnects'] > 200" -c 2 -n 300 --keep-alive off
load connection "http://localhost:$port/" "$no_errors and $each and
    r['resolve_ns']['count'] > 200" -c 2 -n 300 --keep-alive off --set resolve=connection
load open "http://localhost:$port/" "$no_errors and $each" \
    -c 4 -n 80 --rate 200 --keep-alive off --set resolve=connection
load threads "http://localhost:$port/" "$no_errors and $each" \
    -c 4 -t 2 -n 300 --keep-alive off --set resolve=connection
load kept "http://localhost:$port/" "$no_errors and r['resolve_ns'] is None" \
    -c 2 -n 300 --set resolve=connection

refused unix_socket 'no host name' load "http://unix:$folder/none.sock:/" --set resolve=connection
refused address 'address already' load "http://[::1]:1/" --set resolve=connection

# ---- as the kernel saw it ------------------------------------------------------------------------

# read_names RESOLVE: how often the file of names is opened, in `opened`
read_names() {
    strace -f -qq -e trace=openat -o trace "$LOOPMARK" load "http://localhost:$port/" -n 100 -c 1 \
        --warmup 0s --keep-alive off -q --set "resolve=$1" >out 2>err
    opened=$(grep -c '"/etc/hosts"' trace)
}
if ! strace -f -o trace true 2>/dev/null; then
    skip names_read "strace cannot trace here"
else
    read_names once
    [ "$opened" -le 4 ]
    result names_read_once $? "/etc/hosts was opened $opened times"
    read_names connection
    [ "$opened" -ge 100 ]
    result names_read_each_time $? "/etc/hosts was opened $opened times for 100 connections"
fi

# ---- a name that changes -------------------------------------------------------------------------

# The name gets another address while the load runs: nothing connects any more, and it says why.
printf '127.0.0.1 localhost moving.test\n' >names
printf '127.0.0.1 localhost\n127.0.0.9 moving.test\n' >names_after
cat >moved.sh <<'MOVED'
mount --bind names /etc/hosts || exit 77
"$LOOPMARK" load "http://moving.test:$1/" -c 1 -d 20s --warmup 0s --keep-alive off -q \
    --set resolve=connection >out 2>err &
load=$!
sleep 2
cat names_after >names
wait "$load"
MOVED
if ! unshare -m sh -c 'mount --bind names /etc/hosts' 2>/dev/null; then
    skip name_that_moves "no private mount namespace here"
else
    unshare -m sh moved.sh "$port"
    status=$?
    [ $status -eq 1 ] && grep -q 'has not the address' err
    result name_that_moves $? "exit status $status, and it says: $(cat err)"
fi

end "$server_pid"
finish
