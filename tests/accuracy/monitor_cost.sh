#!/bin/bash
# monitor_cost.sh: what each monitor of a loop costs, in CPU time per request of an echo server over
# that of one without monitors: under 1 % each, all of the interval from at least 30 pairs. `same`
# has no monitor either, and shows what luck alone does. All three live side by side and are loaded
# in turns.
#
# MONITOR_LOOP is the loop; epoll. MONITORS are those it looks at; MONITOR_REPETITIONS is how often,
# as some are not valid, and MONITOR_DURATION how long. MONITOR_RATE is what is asked for a second,
# 50,000, which a slow machine cannot.
#
# Prints `ok NAME`, `not ok NAME: why` or `skip NAME: why`; exit status 1 if anything was not ok.
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/accuracy/support.bash

monitors=${MONITORS:-lag saturation callbacks passes tasks}
pairs_least=30
# shellcheck disable=SC2086 # a list
needs $monitors

# write_experiment MONITOR
write_experiment() {
    local loop=${MONITOR_LOOP:-epoll}
    cat >"$folder/$1.ini" <<EXPERIMENT
[experiment]
question = What does it cost?
workload = echo
server   = off, same, watched
measure  = cost
turns    = 20ms
set.size_bytes  = 1024
set.connections = 50
set.rate        = ${MONITOR_RATE:-50000}
set.warmup      = 60ms
set.duration    = ${MONITOR_DURATION:-1s}
repetitions     = ${MONITOR_REPETITIONS:-60}
[server off]
loop = $loop
[server same]
loop = $loop
[server watched]
loop    = $loop
monitor = $1
EXPERIMENT
}

for monitor in $monitors; do
    write_experiment "$monitor"
    "$loopmark" run "$folder/$monitor.ini" --server-cpus 0 --generator-cpus 1 --keep-awake \
        --no-plots --quiet --out "$folder/$monitor" >"$folder/run.out" 2>"$folder/run.err"
    status=$?
    [ $status -eq 0 ] || echo "# run ended with $status: $(tail -n 1 "$folder/run.err")"
    if ! "$python" tests/accuracy/ratios.py "$folder/$monitor/run.json" off \
        >"$folder/$monitor.json" 2>"$folder/ratios.err"; then
        not_ok "$monitor" "$(tail -n 1 "$folder/ratios.err")"
        continue
    fi
    "$python" - "$folder/$monitor.json" <<'SHOW'
import json, sys
for name, ratio in json.load(open(sys.argv[1])).items():
    cpu = ratio["cpu"]
    print(f"# {name}: {cpu['estimate']:.4f} ({cpu['low']:.4f} to {cpu['high']:.4f}), "
          f"{cpu['blocks']} pairs")
SHOW
    holds "$monitor" "[between('pairs', r.watched.cpu.blocks, $pairs_least, 1000),
        between('estimate', r.watched.cpu.estimate, 0.98, 1.01),
        between('upper bound', r.watched.cpu.high, 0.98, 1.01),
        between('1', 1, r.same.cpu.low, r.same.cpu.high)]" "r=$monitor.json"
done
finish
