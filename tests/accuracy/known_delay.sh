#!/bin/bash
# known_delay.sh: answers that come late by a known time are measured as that late.
#
# The server measures from received to sent. A response takes that and the way there and back, so
# no quantile of the responses lies under the server's own, and none above it by more than an
# undisturbed round trip has at that quantile, and 30 us for luck. At p50 it is an equation.
#
# Prints `ok NAME`, `not ok NAME: why` or `skip NAME: why`; exit status 1 if anything was not ok.
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/accuracy/support.bash

needs delay_200us delay_1ms delay_bimodal
compile delay_server

# measure NAME RATE OPTION…: NAME.json is what the generator measured, NAME.server.json the server.
# Between two requests there is more time than the longest delay, so that none waits for another.
measure() {
    local name=$1 rate=$2
    shift 2
    start_server "$folder/delay_server" "$@"
    load "$name" --rate "$rate" -d 10s -c 5
    end_server
    grep '^{' "$folder/server.out" >"$folder/$name.server.json"
}

# delayed NAME RATE OPTION…: beside it a round trip at the same rate, since a CPU that sleeps longer
# wakes later.
delayed() {
    local name=$1 rate=$2
    while again "undisturbed_$name"; do measure "undisturbed_$name" "$rate"; done
    while again "$name"; do measure "$@"; done
    holds "$name" '[
        within("p50", r.response_ns.p50, s.p50 + u.response_ns.p50 - o.p50, 30000),
        between("p50", r.response_ns.p50, s.p50 * 0.999, 1e12),
        between("p99", r.response_ns.p99, s.p99 * 0.999, s.p99 + u.response_ns.p99 + 30000)]' \
        r="$name.json" s="$name.server.json" u="undisturbed_$name.json" \
        o="undisturbed_$name.server.json"
}

delayed delay_200us 1000 --delay-ns 200000
delayed delay_1ms 500 --delay-ns 1000000
delayed delay_bimodal 150 --delay-ns 100000 --slow-ns 5000000 --slow-every 10
finish
