#!/bin/bash
# server_cpu.sh: CPU time of a server, read from outside, is what the server really took.
#
# Both servers are asked equally often, in an open loop: what a request costs depends on how often
# one comes. They take turns, since it also changes with the hour. Without warm-up every request
# lies in the window, and the server's life is the window.
#
# Prints `ok NAME`, `not ok NAME: why` or `skip NAME: why`; exit status 1 if anything was not ok.
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/accuracy/support.bash

needs fifty_us_more same_as_proc
compile planted_server

cpu_ns() { cut -d ' ' -f 1 "/proc/$server_pid/schedstat"; } # of its only thread
# User and system time in clock ticks, fields 14 and 15 of which 2 end with the name.
cpu_ticks() { sed 's/.*) //' "/proc/$server_pid/stat" | awk '{ print $12 + $13 }'; }

measure() {
    local name=$1
    shift
    start_server "$folder/planted_server" "$@"
    started_ns=$(cpu_ns)
    load "$name" --rate 5000 --warmup 0s -d 3s -c 20 --pid "$server_pid"
    ticks=$(cpu_ticks)
    end_server
}

for turn in 1 2 3; do
    while again "bare_$turn"; do measure "bare_$turn" --burn-ns 0; done
    while again "burning_$turn"; do measure "burning_$turn" --burn-ns 50000; done
done
holds fifty_us_more 'within("median of us more per request", sorted(
    burning.server.cpu_us_per_request - bare.server.cpu_us_per_request
    for burning, bare in ((d, a), (e, b), (f, c)))[1], 50, 2)' \
    a=bare_1.json b=bare_2.json c=bare_3.json d=burning_1.json e=burning_2.json f=burning_3.json
# The sum of two numbers cut to a tick is a tick too small on average, and off that by one at most.
holds same_as_proc 'within("CPU ms in the window", r.server.cpu_us_per_request * r.requests / 1e3,
    (ticks + 1) * 1e3 / per_second - started / 1e6, 1e3 / per_second)' r=burning_3.json \
    ticks="$ticks" started="$started_ns" per_second="$(getconf CLK_TCK)"
finish
