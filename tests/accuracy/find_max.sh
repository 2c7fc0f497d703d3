#!/bin/bash
# find_max.sh: `load --find-max` finds the capacity of a server that has a known one.
#
# Evenly spaced requests to a server that takes N ns for each: below 1e9 / N a second none waits,
# above it all do, and ever longer, so that any quantile tells. The median does so whatever the
# machine does to the server now and then: a p99 would be that. Where the machine is the limit, that
# has to be said: then it is tried again, three times in all.
#
# Prints `ok NAME`, `not ok NAME: why` or `skip NAME: why`; exit status 1 if anything was not ok.
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/accuracy/support.bash

services_ns=(400000 100000 30000)
needs "${services_ns[@]/#/capacity_}"
compile queue_server

for service_ns in "${services_ns[@]}"; do
    start_server "$folder/queue_server" --service-ns "$service_ns"
    name=capacity_$service_ns
    while again "$name"; do
        load "$name" --find-max 'p50<5ms' --arrivals constant --precision 2 -d 2s -c 64
    done
    end_server
    # What is known to hold is at most the capacity, and what is known not to is at least that.
    holds "$name" '[valid(r), same("ended", r.ended, "found"),
        within("highest rate", r.max_rate, 1e9 / service_ns, 0.03e9 / service_ns),
        within("lowest above", r.bracket[1], 1e9 / service_ns, 0.03e9 / service_ns)]' \
        r="$name.json" service_ns="$service_ns"
done
finish
