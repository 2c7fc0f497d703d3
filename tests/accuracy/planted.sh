#!/bin/bash
# planted.sh: `loopmark run` finds the differences between servers that were planted, and none
# between a server and itself. ratios.py computes them from the record; the verdicts say so too.
#
# Each server burns 15 us for a message to begin with, so that the server is the limit and not the
# generator: CPU time compares only at equal rates or when both servers are saturated.
#
# Prints `ok NAME`, `not ok NAME: why` or `skip NAME: why`; exit status 1 if anything was not ok.
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/accuracy/support.bash

# Claims that must be reproduced, and those that must not.
verdicts=(more-cpu sleep-throughput sleep-ratio)
refused=(same-cpu same-throughput)
needs same_as_itself cpu_5_percent sleep_1ms "${verdicts[@]/#/verdict_}" "${refused[@]/#/verdict_}"
compile planted_server
export PLANTED_SERVER=$folder/planted_server BASE_BURN_NS=15000 LOOPMARK_SOURCE=$PWD

# A twentieth of what base costs in the same load is burnt in addition.
start_server "$PLANTED_SERVER" --burn-ns "$BASE_BURN_NS"
while again base; do load base -c 50 -d 3s --pid "$server_pid"; done
end_server
MORE_BURN_NS=$("$python" -c 'import json, sys
cost_us = json.load(open(sys.argv[1]))["server"]["cpu_us_per_request"]
print(int(sys.argv[2]) + round(cost_us * 1e3 / 20))' "$folder/base.json" "$BASE_BURN_NS")
export MORE_BURN_NS
echo "# base burns $BASE_BURN_NS ns, cpu5 $MORE_BURN_NS ns"

"$loopmark" run tests/accuracy/planted.ini --repetitions 12 --server-cpus 0 --generator-cpus 1 \
    --keep-awake --no-plots --quiet --out "$folder/run" >"$folder/run.out" 2>"$folder/run.err"
status=$?
[ $status -eq 0 ] || echo "# run ended with $status: $(tail -n 1 "$folder/run.err")"
"$python" tests/accuracy/ratios.py "$folder/run/run.json" >"$folder/ratios.json"

holds same_as_itself '[between("1", 1, r.same.cpu.low, r.same.cpu.high),
    between("1", 1, r.same.throughput.low, r.same.throughput.high)]' r=ratios.json
holds cpu_5_percent '[between("low end", r.cpu5.cpu.low, 1.000001, 1.05),
    between("1.05", 1.05, r.cpu5.cpu.low - 0.01, r.cpu5.cpu.high + 0.01),
    between("estimate", r.cpu5.cpu.estimate, 1.04, 1.06)]' r=ratios.json
holds sleep_1ms 'between("high end", r.sleep1ms.throughput.high, 0, 0.1)' r=ratios.json

# The report names a claim and its verdict in one line: `* NAME "…": **verdict** …`.
for claim in "${verdicts[@]}" "${refused[@]}"; do
    if ! line=$(grep -E "^\* $claim " "$folder/run/report.md" 2>/dev/null); then
        not_ok "verdict_$claim" "the report does not speak of it"
        continue
    fi
    verdict=${line#*\*\*} verdict=${verdict%%\*\**}
    echo "# $claim: $verdict"
    wanted=no
    [[ " ${verdicts[*]} " == *" $claim "* ]] && wanted=yes
    found=no
    [ "$verdict" = reproduced ] && found=yes
    if [ $wanted = $found ]; then
        ok "verdict_$claim"
    else
        not_ok "verdict_$claim" "$line"
    fi
done
finish
