#!/bin/bash
# `load --find-max` and `load --sweep` on our own HTTP server: that what they say hangs together.
# What it is depends on the machine, which may be too busy to let them find anything: never asked.
# alone: beside others the machine is the limit, and there is little to look at
# shellcheck source=tests/end_to_end/library.bash
. "$(dirname "$0")/library.bash"

# ---- bad arguments -------------------------------------------------------------------------------

nobody=tcp://127.0.0.1:1
# What its message has to contain (_ is any character), and the arguments.
while read -r pattern arguments; do
    # shellcheck disable=SC2086 # several arguments
    refused "${arguments// /_}" "${pattern//_/.}" load $nobody $arguments
done <<'TABLE'
--find-max_'p99'_does_not_look_like --find-max p99
--find-max_'p99<5' --find-max p99<5
one_--find-max --find-max p99<5ms --find-max p50<1ms
either_--find-max_or_--sweep --find-max p99<5ms --sweep 1k:2k
does_not_look_like_1k:100k --sweep 1k
lower_rate_to_a_higher --sweep 2k:1k
--precision_'0'_does_not --find-max p99<5ms --precision 0
--precision_'5x'_does_not --find-max p99<5ms --precision 5x
needs_--find-max --precision 5
needs_--sweep --plot a.png
neither_in_.png_nor --sweep 1k:2k --plot a.jpg
cannot_be_written --sweep 1k:2k --plot /nowhere/a.png
--rate_is_of_one_load --sweep 1k:2k --rate 5
--requests_is_of_one_load --find-max p99<5ms -n 100
--ramp_is_of_one_load --find-max p99<5ms --ramp 1:2
--slo_is_of_one_load --find-max p99<5ms --slo p99<5ms
--hlog_is_of_one_load --sweep 1k:2k --hlog a.hlog
needs_at_least_368_requests --find-max p99<5ms --rate 20 -d 100ms
needs_--slo_or_--find-max --sweep 1k:2k --strict
TABLE
expect no_server_to_search 1 'refused' load $nobody --find-max 'p50<1ms' -q
expect no_server_to_sweep 1 'refused' load $nobody --sweep 1k:2k -q

if ! start server "$LOOPMARK" serve --loop epoll --workload http --listen 127.0.0.1:0 \
    --set work_us=1000; then
    skip load_search "$(tail -n 1 server.err)"
    finish
fi
url=http://$address/
steps=(-c 10 -d 200ms --warmup 30ms --timeout 300ms)

# ---- the search ----------------------------------------------------------------------------------

cat >search.py <<'CHECK'
"""search.py FILE STATUS LIMIT_NS [CONDITION]: does a record agree with itself and the exit code?"""
import json, sys
r, status = json.load(open(sys.argv[1])), int(sys.argv[2])
low, high = r['bracket']
assert r['schema'] == 1 and r['url'] and r['find_max'] and r['precision'] > 0
assert r['max_rate'] == low, (r['max_rate'], low)
assert low is None or high is None or low < high, r['bracket']
assert r['valid'] == (r['invalid'] == [])
ended = r['ended']
codes = {'found': [0, 4], 'all-hold': [0], 'nothing-holds': [3, 4], 'generator-limit': [5],
         'machine-limit': [5], 'out-of-time': [0, 3, 4], 'interrupted': [130], 'failed': [1]}
assert status in codes[ended], (ended, status)
assert r['valid'] == (ended in ('found', 'all-hold', 'nothing-holds'))
if ended == 'found':
    assert high <= low * (1 + r['precision']), r['bracket']
if ended == 'nothing-holds':
    assert low is None and high is not None

# The rates are what the steps were.
rates = {}
for step in r['steps']:
    for key in ('valid', 'offered_rate', 'response_ns', 'client', 'knobs', 'interval_ns'):
        assert key in step, key
    assert step['knobs']['rate_per_s'] == step['rate']
    counted = rates.setdefault(step['rate'], {'held': 0, 'failed': 0, 'spoilt': 0})
    verdict = step['verdict']
    counted['held' if verdict == 'holds' else 'spoilt' if verdict in ('generator', 'machine')
            else 'failed'] += 1
    if verdict == 'holds':  # in spite of a late generator too
        assert step['interval_ns'][1] < float(sys.argv[3])
    if verdict == 'breaks':
        assert step['interval_ns'][0] >= float(sys.argv[3])
    if verdict == 'not-sustained':
        assert not step['valid']
assert [rate['rate'] for rate in r['rates']] == sorted(rates)
for rate in r['rates']:
    assert {k: rate[k] for k in ('held', 'failed', 'spoilt')} == rates[rate['rate']], rate
    assert rate['odd'] == (low is not None and rate['rate'] < low and
                           rate['failed'] > rate['held']), rate
holding = [rate['rate'] for rate in r['rates'] if rate['held'] > rate['failed']]
assert low == max(holding, default=None), (low, holding)
if ended == 'found':
    assert all(rate['held'] + rate['failed'] > 1 for rate in r['rates']
               if rate['rate'] in r['bracket']), 'an end was not confirmed'
for condition in sys.argv[4:]:
    assert eval(condition), condition
CHECK

# search NAME LIMIT_NS CONDITION ARGUMENTS
search() {
    local name=$1 limit_ns=$2 condition=$3 why
    shift 3
    run_loopmark load "$url" "${steps[@]}" --json "$@"
    why=$("$python" search.py out "$status" "$limit_ns" "$condition" 2>&1)
    result "$name" $? "exit $status: $(tail -n 1 <<<"$why")"
}

search a_search 20e6 'len(r["steps"]) > 0' --find-max 'p90<20ms' --precision 20
grep -q 'at most .* in all' err
result time_is_announced $? "stderr: $(head -n 1 err)"
[ "$(grep -cE '^ *[0-9]+\. ' err)" = "$(grep -c '"verdict"' out)" ]
result a_line_for_each_step $? "$(grep -cE '^ *[0-9]+\. ' err) lines on stderr"
# A request takes a millisecond.
search nothing_holds 100e3 'r["max_rate"] is None' --find-max 'p50<100us' -q
[ ! -s err ]
result quiet $? "stderr: $(head -n 1 err)"
search from_a_rate 20e6 'r["steps"][0]["rate"] == 250 and (r["decided"] or status > 0)' \
    --find-max 'p50<20ms' --rate 250 --precision 40 --strict -q

run_loopmark load "$url" "${steps[@]}" --find-max 'p50<20ms' --rate 250 --precision 40 -q
grep -qE 'p50<20ms (holds up to (at least )?[0-9]|was not shown to hold)' out
result for_people $? "it says $(head -n 2 out | tail -n 1)"

background interrupted load "$url" -c 10 -d 20s --find-max 'p50<20ms' --json
await 20 grep -q 'at most .* in all' interrupted.err && sleep 0.5
kill -INT "$pid"
await_end "$pid" 10
why=$("$python" search.py interrupted.out "$status" 20e6 'r["ended"] == "interrupted"' 2>&1)
result interrupted $? "exit $status: $(tail -n 1 <<<"$why")"

# ---- the sweep -----------------------------------------------------------------------------------

cat >sweep.py <<'CHECK'
"""sweep.py FILE STATUS: does a sweep's record agree with itself and its exit code?"""
import json, sys
r, status = json.load(open(sys.argv[1])), int(sys.argv[2])
steps, knee = r['steps'], r['knee']
assert r['schema'] == 1 and r['url']
assert r['valid'] == (r['invalid'] == []) == any(step['valid'] for step in steps)
assert status == (0 if r['valid'] else 5), status
rates = [step['rate'] for step in steps]
assert rates == sorted(set(rates)) and rates[0] == r['sweep']['from']
for step in steps:
    assert step['knobs']['rate_per_s'] == step['rate']
    assert step['valid'] or step['invalid']
    assert step['sustained'] or not step['valid']
if r['ended'] == 'complete':
    assert len(steps) == r['sweep']['steps'] and rates[-1] == r['sweep']['to']
else:
    assert r['ended'] == 'not-sustained' and len(steps) < r['sweep']['steps']
    assert not any(step["valid"] for step in steps[-2:])
assert knee['found'] in ('found', 'none-within', 'below', 'unknown')
assert (knee['found'] == 'found') == (knee['rate'] is not None)
if knee['rate'] is not None:
    assert knee['rate'] < knee['over_rate'] and {knee['rate'], knee['over_rate']} <= set(rates)
# It can do no more than a thousand a second, and so never gets to the end.
assert r['ended'] == 'not-sustained', r['ended']
CHECK

run_loopmark load "$url" "${steps[@]}" --sweep 50:30k:8 --plot sweep.png --json
why=$("$python" sweep.py out "$status" 2>&1)
result a_sweep $? "exit $status: $(tail -n 1 <<<"$why")"
if command -v gnuplot >/dev/null; then
    [ "$(head -c 4 sweep.png | tail -c 3)" = PNG ] && [ ! -e sweep.png.dat ]
    result a_figure $? "$(ls) $(cat err)"
    run_loopmark load "$url" "${steps[@]}" --sweep 50:30k:4 --plot sweep.svg -q
    for words in 'requests/s' 'response time (ms)' 'p99.9' 'not valid' 'interval' 'connections'; do
        grep -qF "$words" sweep.svg
        result "figure_says_${words// /_}" $? "it does not"
    done
else
    skip a_figure "gnuplot is missing"
fi
grep -qi 'knee' out
result knee_for_people $? "$(tail -n 3 out)"

# A folder with everything that this test needs but gnuplot.
mkdir bin
for tool in bash env; do ln -s "$(command -v $tool)" bin/; done
PATH=$folder/bin "$LOOPMARK" load "$url" "${steps[@]}" --sweep 50:100:2 --plot none.svg -q \
    >out 2>err
status=$?
[[ $status = [05] ]] && grep -q 'gnuplot is not installed' err && [ ! -e none.svg ]
result without_gnuplot $? "exit $status: $(cat err)"

end "$server_pid"
finish
