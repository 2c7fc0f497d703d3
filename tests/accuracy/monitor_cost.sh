#!/bin/bash
# monitor_cost.sh: what each monitor of a loop costs, in CPU time per request of an echo server over
# that of one without monitors: under 1 % each, all of the interval from at least 30 pairs. `same`
# has no monitor either, and shows what luck alone does. tests/performance/monitors.py measures, and
# says how: there is no rate to keep, so a machine that is slow or late can tell as well.
#
# MONITORS are those it looks at, MONITOR_LOOP is the loop (epoll), MONITOR_BLOCKS the pairs (50).
#
# Prints `ok NAME`, `not ok NAME: why` or `skip NAME: why`; exit status 1 if anything was not ok.
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/accuracy/support.bash

monitors=${MONITORS:-lag saturation callbacks passes tasks}
pairs_least=30
# shellcheck disable=SC2086 # a list
needs $monitors

for monitor in $monitors; do
    if ! "$python" tests/performance/monitors.py "$loopmark" --json --monitors "$monitor" \
        --loop "${MONITOR_LOOP:-epoll}" --blocks "${MONITOR_BLOCKS:-50}" \
        >"$folder/$monitor.json" 2>"$folder/run.err"; then
        not_ok "$monitor" "$(tail -n 1 "$folder/run.err")"
        continue
    fi
    "$python" - "$folder/$monitor.json" <<'SHOW'
import json, sys
for monitor, ratios in json.load(open(sys.argv[1])).items():
    for name, cpu in ratios.items():
        print(f"# {name}: {cpu['estimate']:.4f} ({cpu['low']:.4f} to {cpu['high']:.4f}), "
              f"{cpu['blocks']} pairs")
SHOW
    holds "$monitor" "[between('pairs', r.$monitor.$monitor.blocks, $pairs_least, 1000),
        between('estimate', r.$monitor.$monitor.estimate, 0.98, 1.01),
        between('upper bound', r.$monitor.$monitor.high, 0.98, 1.01),
        between('1', 1, r.$monitor.same.low, r.$monitor.same.high)]" "r=$monitor.json"
done
finish
