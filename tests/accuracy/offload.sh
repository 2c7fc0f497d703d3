#!/bin/bash
# offload.sh: who waits for a call that blocks for 2 s. Beside it a timer of 1 s runs on the same
# loop: inline it comes when the call is over, offloaded when it is due, and this on every loop. A
# timer that is asked for only after the call has begun (as where a coroutine that sleeps is started
# behind one that blocks) begins to count when an inline call is over, so it comes at 3 s.
#
# Then overload: sixteen times the jobs that two threads can do do not delay light requests by more
# than the few milliseconds for which a machine may hold a server up.
#
# Prints `ok NAME`, `not ok NAME: why` or `skip NAME: why`; exit status 1 if anything was not ok.
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/accuracy/support.bash

needs timer_beside_a_call
loops=${OFFLOAD_LOOPS:-select poll epoll epoll-et libuv io_uring}

# beside ORDER: asks for a timer of 1 s and a call of 2 s, in that order or the other, and says
# after how many seconds each has come, counted from the first of the two.
beside() {
    "$python" - "$address" "$1" <<'BESIDE'
import http.client, json, sys, threading, time
address, order = sys.argv[1:3]
paths = {"timer": "/timer/1000000", "call": "/sleep/2000000"}
connections = {name: http.client.HTTPConnection(address, timeout=20) for name in paths}
for connection in connections.values():
    connection.request("GET", "/light")
    assert connection.getresponse().read() == b"light\n"
came, begun = {}, time.monotonic()
def wait(name):
    answer = connections[name].getresponse().read().decode().strip()
    assert answer == paths[name].rsplit("/", 1)[1], answer
    came[name] = time.monotonic() - begun
threads = []
for name in order.split(","):
    connections[name].request("GET", paths[name])
    threads.append(threading.Thread(target=wait, args=(name,)))
    threads[-1].start()
    time.sleep(0.1)  # the server has begun with it
for thread in threads:
    thread.join()
print(json.dumps(came))
BESIDE
}

# timer_comes NAME ORDER SECONDS
timer_comes() {
    beside "$2" >"$folder/came.json"
    holds "$1" "between('a timer of 1 s, in s', c.timer, $3, $3 + 0.4)" c=came.json
}

for loop in $loops; do
    for mode in inline pool per_call; do
        start_server "$loopmark" serve --loop "$loop" --workload offload --set "mode=$mode"
        running=1.0 asked_for=1.1
        [ "$mode" = inline ] && running=2.1 asked_for=3.0
        timer_comes "running_timer_${loop}_$mode" timer,call "$running"
        timer_comes "timer_asked_for_${loop}_$mode" call,timer "$asked_for"
        end_server
    done
done

scheme=http
for loop in $loops; do
    start_server "$loopmark" serve --loop "$loop" --workload offload --set pool_threads=2 \
        --set queue_bound=64 --set job_us=5000 --set jobs_per_s=6400
    while again "overload_$loop"; do
        load "overload_$loop" --rate 10000 -c 50 --warmup 500ms -d 4s
    done
    end_server
    holds "light_beside_overload_$loop" \
        'between("p99 of light requests, in ms", r.response_ns.p99 / 1e6, 0, 10)' \
        r="overload_$loop.json"
done
finish
