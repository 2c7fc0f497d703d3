#!/bin/bash
# rates.sh: an open loop asks exactly as often as it was told to, at rates that divide a second
# badly too.
# Prints `ok NAME`, `not ok NAME: why` or `skip NAME: why`; exit status 1 if anything was not ok.
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/accuracy/support.bash

rates=(1 7 51 149 999 5000 20000)
fast=(50000 100000)
needs "${rates[@]/#/constant_}" "${fast[@]/#/constant_}" poisson_1000

serve
for rate in "${rates[@]}"; do
    while again "constant_$rate"; do load "constant_$rate" --rate "$rate" -d 10s -c 20; done
    holds "constant_$rate" '[within("achieved rate", r.achieved_rate, rate, rate * 0.001),
        same("requests", r.requests, rate * 10)]' r="constant_$rate.json" rate="$rate"
done

# These may be more than this machine has the CPU for. Then the result has to say so.
for rate in "${fast[@]}"; do
    while again "constant_$rate"; do load "constant_$rate" --rate "$rate" -d 10s -c 100; done
    holds "constant_$rate" '([within("achieved rate", r.achieved_rate, rate, rate * 0.001),
        within("requests", r.requests, rate * 10, rate * 10 * 0.001)] if r.valid else
        [same("exit status", status, 5), (len(r.invalid) > 0, f"not valid: {r.invalid}")])' \
        r="constant_$rate.json" rate="$rate" status="$load_status"
done

# The variance of a Poisson count is its mean: a deviation of 100 here, 4 of them once in 16,000.
while again poisson_1000; do load poisson_1000 --rate 1000 --arrivals poisson -d 10s -c 20; done
holds poisson_1000 'within("requests", r.requests, 10000, 4 * 100)' r=poisson_1000.json
finish
