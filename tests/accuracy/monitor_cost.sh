#!/bin/bash
# monitor_cost.sh: what each monitor of a loop costs, in CPU time per request of an echo server over
# that of one without monitors: under 1 % each, by the estimate from 30 pairs. One of the servers,
# `same`, has no monitor either, and shows what luck alone does.
#
# MONITOR_LOOP is the loop; epoll. MONITOR_REPETITIONS is the number of repetitions.
#
# Prints `ok NAME`, `not ok NAME: why` or `skip NAME: why`; exit status 1 if anything was not ok.
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/accuracy/support.bash

monitors=(lag saturation callbacks passes tasks)
needs same "${monitors[@]}"
MONITOR_PROGRAM=$(realpath "$loopmark")
export MONITOR_PROGRAM MONITOR_LOOP=${MONITOR_LOOP:-epoll}

"$loopmark" run tests/accuracy/monitor_cost.ini --repetitions "${MONITOR_REPETITIONS:-30}" \
    --server-cpus 0 --generator-cpus 1 --no-plots --quiet --out "$folder/run" \
    >"$folder/run.out" 2>"$folder/run.err"
status=$?
[ $status -eq 0 ] || echo "# run ended with $status: $(tail -n 1 "$folder/run.err")"
"$python" tests/accuracy/ratios.py "$folder/run/run.json" >"$folder/ratios.json"

"$python" - "$folder/ratios.json" <<'SHOW'
import json, sys
for name, ratio in json.load(open(sys.argv[1])).items():
    cpu = ratio["cpu"]
    print(f"# {name}: {cpu['estimate']:.4f} ({cpu['low']:.4f} to {cpu['high']:.4f}), "
          f"{cpu['blocks']} pairs")
SHOW
holds same '[between("1", 1, r.same.cpu.low, r.same.cpu.high)]' r=ratios.json
for monitor in "${monitors[@]}"; do
    holds "$monitor" "between('estimate', r.$monitor.cpu.estimate, 0.98, 1.01)" r=ratios.json
done
finish
