#!/bin/bash
# `hist`, and the logs that `load` and `run` write for it: what is added up is the whole, what is
# cut is the part, and a file that cannot be read is refused in words. No time is judged here.
# alone: a run that others disturb has no valid repetition, and so no table to compare
# shellcheck source=tests/end_to_end/library.bash
. "$(dirname "$0")/library.bash"
quick=(--warmup 20ms --quiet)

# facts NAME CONDITION [NAME=FILE…]: the condition (Python) holds for the JSON in `out` (h is its
# first histogram, hs all of them) and in the other files
facts() {
    local name=$1 why
    why=$("$python" - "$2" "${@:3}" 2>&1 <<'FACTS'
import json, sys
names = {"out": json.load(open("out"))}
names["hs"] = names["out"].get("histograms")
names["h"] = names["hs"] and names["hs"][0]
for pair in sys.argv[2:]:
    key, path = pair.split("=")
    names[key] = json.load(open(path))
def counts(text):
    import base64, struct, zlib
    data = base64.b64decode(text)
    plain = zlib.decompress(data[8:])
    return plain
names["counts"] = counts
if not eval("(" + sys.argv[1] + ")", names):
    sys.exit(f"{sys.argv[1]} does not hold: {open('out').read()[:600]}")
FACTS
    )
    result "$name" $? "$(tail -n 1 <<<"$why")"
}

# hist NAME ARGUMENTS: has to end with 0
hist() {
    local name=$1
    run_loopmark hist "${@:2}"
    [ "$status" -eq 0 ]
    result "$name/status" $? "exit status $status: $(last_words)"
}

# ---- load's log is load's result -----------------------------------------------------------------

start_loop epoll 127.0.0.1:0 || not_ok start "$(tail -n 1 server.err)"
target=$(url "$address")
run_loopmark load "$target" -c 4 -t 2 -d 2300ms --rate 2000 "${quick[@]}" --json \
    --hlog open.hlog --hgrm open.hgrm
cp out open.json
record load_record load open.json
hist open open.hlog --json
facts open_is_the_response 'h["count"] == load["response_ns"]["count"] and
    all(load["response_ns"][name] in (h["quantiles"][i]["value"], None)  # None: a late generator
        for i, name in enumerate(["p50", "p90", "p95", "p99"]))' load=open.json
facts open_times '2.2 < h["length_s"] < 30 and h["start_s"] > 1.7e9' load=open.json
hist each open.hlog --by none --json
facts one_interval_a_second 'load["lag_ns"]["max"] > 3e8 or 3 <= len(hs) <= 4 and
    all(abs(a["start_s"] + a["length_s"] - b["start_s"]) < 0.003 for a, b in zip(hs, hs[1:])) and
    abs(hs[0]["length_s"] - 1) < 0.5' load=open.json
run_loopmark hist convert open.hlog --to hgrm
cmp -s out open.hgrm
result hgrm_of_log_is_loads $? "$(diff out open.hgrm | head -n 3)"

run_loopmark load "$target" -c 4 -n 5000 "${quick[@]}" --json --hlog closed.hlog
cp out closed.json
hist closed closed.hlog --json
facts closed_is_the_service 'h["count"] == load["service_ns"]["count"] == 5000' load=closed.json

# A server that stops: its requests count as at least the timeout, in the log as well.
background stopped load "$target" -c 2 -d 4s --rate 500 --timeout 300ms "${quick[@]}" --json \
    --hlog stopped.hlog
# shellcheck disable=SC2317 # `await` calls it
is_connected() { has_worked "$server_pid" 0 && [ -s stopped.hlog ]; }
await 5 is_connected
sleep 0.1
kill -STOP "$server_pid"
await_end "$pid" 10
kill -CONT "$server_pid"
hist stopped stopped.hlog --json
facts stopped_is_the_response 'h["count"] == load["response_ns"]["count"] and h["max"] >= 3e8' \
    load=stopped.out
run_loopmark load "$target" -c 1 -n 100 "${quick[@]}" --hlog /dev/full
grep -q '/dev/full: cannot write: No space left' err
result full_disk_load $? "exit status $status: $(cat err)"
end "$server_pid"

# ---- parts and the whole -------------------------------------------------------------------------

hist merge merge open.hlog closed.hlog -o both.hlog
hist both both.hlog --json
cp out both.json
facts merge_adds_up 'h["count"] == a["response_ns"]["count"] + b["service_ns"]["count"]' \
    a=open.json b=closed.json
hist merge_swapped merge closed.hlog open.hlog -o swapped.hlog
hist swapped swapped.hlog --json
facts merge_in_any_order 'counts(h["histogram"]) == counts(both["histograms"][0]["histogram"])' \
    both=both.json
hist parts open.hlog closed.hlog --json
facts adding_is_merging 'counts(h["histogram"]) == counts(both["histograms"][0]["histogram"])' \
    both=both.json

hist first cut open.hlog --until 1s -o first.hlog
hist rest cut open.hlog --from 1s -o rest.hlog
hist joined first.hlog rest.hlog --json
cp out joined.json
hist whole open.hlog --json
cp out whole.json
facts cuts_add_up 'counts(h["histogram"]) == counts(joined["histograms"][0]["histogram"])' \
    joined=joined.json
hist first_alone first.hlog --by none --json
facts cut_is_the_first_second 'len(hs) == 1'

hist to_json convert open.hlog --to json -o open.hist.json
hist from_json convert open.hist.json --to hlog -o again.hlog
hist again_each again.hlog --by none --json
cp out again.json
hist open_each open.hlog --by none --json
facts json_keeps_each '[counts(a["histogram"]) for a in hs] ==
    [counts(b["histogram"]) for b in again["histograms"]]' again=again.json

# A log of another tool may have other units; most do not say which.
grep -v '^# units' open.hlog >unknown.hlog
hist in_us unknown.hlog --unit us --json
facts unit_is_told 'out["unit"] == "us" and h["max"] == ns["histograms"][0]["max"]' ns=whole.json
hist in_seconds convert unknown.hlog --to hgrm --unit s

# Through a table: less, but the same at its rows, and it says so.
hist to_csv convert open.hlog --to csv -o open.csv
hist from_csv open.csv --json
facts table_is_not_exact 'not h["exact"]'
grep -q 'percentile table' err
result table_is_told $? "nothing on stderr"
hist from_hgrm open.hgrm --json
facts table_keeps_its_rows 'h["count"] == load["response_ns"]["count"] and
    abs(h["quantiles"][0]["value"] - log["histograms"][0]["quantiles"][0]["value"]) <=
        1000 + h["quantiles"][0]["value"] / 500' \
    load=open.json log=whole.json

# Machines whose seconds begin at different times: each interval counts where its middle lies.
hist by_second open.hlog closed.hlog --by second --json
facts seconds_are_seconds 'all(x["start_s"] % 1 == 0 and x["length_s"] == 1 for x in hs) and
    len({x["start_s"] for x in hs}) == len(hs) and
    sum(x["count"] for x in hs) == a["response_ns"]["count"] + b["service_ns"]["count"]' \
    a=open.json b=closed.json
hist by_file open.hlog closed.hlog --by file --json
facts by_file '[x["tag"] for x in hs] == ["open.hlog", "closed.hlog"] or
    sorted(x["tag"] for x in hs) == ["closed.hlog", "open.hlog"]'
hist diff diff open.hlog closed.hlog --json
facts diff_percentiles '[q["quantile"] for q in out["quantiles"]][:2] == [0.5, 0.75] and
    out["a_count"] != out["b_count"] and all(
        abs(q["ratio"] * q["a"] / q["b"] - 1) < 1e-9 for q in out["quantiles"] if q["ratio"])'
hist diff_self diff open.hlog open.hlog --json
facts diff_of_itself 'all(q["ratio"] in (1, None) and not q["intervals_apart"]
                          for q in out["quantiles"])'
hist text open.hlog
grep -q '99 %' out && grep -q '█' out
result text_has_percentiles_and_plot $? "$(head -n 5 out)"
"$LOOPMARK" hist - <open.hlog >out 2>err
result standard_input $? "$(last_words)"
"$LOOPMARK" hist - <open.hlog 2>err | head -n 1 >out
result closed_pipe $? "$(last_words)"

# ---- run's logs ----------------------------------------------------------------------------------

cat >logged.ini <<'EXPERIMENT'
[experiment]
question = Is everything in the logs?
workload = echo
server   = select, epoll
measure  = capacity
set.connections = 4
set.warmup      = 20ms
set.duration    = 100ms
repetitions     = 2
EXPERIMENT
run_until 'all(x["requests"] > 0 for x in reps)' logged logged.ini --quiet --no-plots
record run_record run logged/run.json
shopt -s nullglob
logs=(logged/latency/*.hlog logged/latency/invalid/*.hlog)
"$LOOPMARK" hist "${logs[@]}" --by tag --json >out 2>err
result run_logs $? "$(last_words)"
facts tags_are_server_and_repetition '{x["tag"].removesuffix("-again") for x in hs} ==
    {f"{r}/{n}" for r in ("select", "epoll") for n in (1, 2)} and
    len(hs) == len(run["repetitions"])' run=logged/run.json
facts logs_have_every_answer 'sum(x["count"] for x in hs) ==
    sum(r["service_ns"]["count"] for r in run["repetitions"])' run=logged/run.json
hist one_tag "${logs[@]}" --tag 'epoll/*' --json
facts tag_filter 'h["count"] == sum(r["service_ns"]["count"] for r in run["repetitions"]
    if r["server_name"] == "epoll")' run=logged/run.json
tables=(logged/latency/*.hgrm)
[ "${#tables[@]}" -gt 0 ] ||
    skip valid_log_is_the_table "no repetition was valid on this machine"
for table in "${tables[@]}"; do
    run_loopmark hist convert "${table%.hgrm}.hlog" --to hgrm
    cmp -s out "$table"
    result "valid_log_is_the_table" $? "$table differs"
done

# ---- what a killed run leaves --------------------------------------------------------------------

start_loop epoll 127.0.0.1:0
background load load "$(url "$address")" -c 4 -d 30s --warmup 0 --quiet --hlog killed.hlog
# shellcheck disable=SC2317 # `await` calls it
has_lines() { [ -e killed.hlog ] && [ "$(grep -cv '^[#"]' killed.hlog)" -ge 2 ]; }
await 20 has_lines
result log_grows_while_it_runs $? "$(cat load.err)"
end "$pid"
end "$server_pid"
hist killed killed.hlog --by none --json
lines=$(grep -cv '^[#"]' killed.hlog)
facts killed_keeps_its_seconds "len(hs) == $lines"
head -c -100 killed.hlog >cut.hlog
hist cut_off cut.hlog --by none --json
facts cut_off_loses_one_line "len(hs) == $lines - 1"
grep -q "cut.hlog:$(wc -l <killed.hlog): cut off" err
result cut_off_is_told $? "$(cat err)"

# ---- refused -------------------------------------------------------------------------------------

refused no_file 'which files' hist
refused missing 'nothere.hlog.*No such file' hist nothere.hlog
refused directory 'logged.*directory' hist logged
refused no_histogram 'logged.ini' hist logged.ini
: >empty
refused empty 'empty' hist empty
refused not_a_folder 'Not a directory' hist open.hlog/x
refused until_nothing 'from 0s is not before --until 0s' hist open.hlog --until 0s
refused ticks_of_print 'ticks' hist open.hlog --ticks 3
refused input_twice 'only once' hist - -
refused hlog_to_stdout 'give a file' load tcp://127.0.0.1:1 -n 1 --hlog -
foreign=$LOOPMARK_SOURCE/tests/data/histograms
refused which_table 'second percentile table' hist "$foreign/wrk2-uncorrected.txt"
hist table_1 "$foreign/wrk2-uncorrected.txt" --table 1 --json
facts one_table 'h["count"] == 600 and h["quantiles"][0]["low"] is None'
head -n 20 open.hgrm >cut.hgrm
refused table_breaks_off 'cut.hgrm:21: the table breaks off' hist cut.hgrm
hist table_cut cut.hgrm --skip-bad
hist in_us_log merge unknown.hlog --unit us -o us.hlog
refused other_unit 'values are in us, not in ns: --unit us' hist us.hlog
hist own_unit us.hlog --unit us --json
cp out us.json
refused other_unit_json 'values are in us' hist us.json
printf '%s\n' '{"schema": 1, "histograms": [{"start_s": 2e12, "length_s": 1, "histogram":' \
    '"HISTFAAAACB4nJNpmSzMwMDAyAABzFAaxOf94R7BYP8BKgIAUR8EHw=="}]}' >far.json
refused far_times 'cannot be in a .hlog' hist convert far.json --to hlog
refused diff_one 'two files' hist diff open.hlog
refused convert_to_what 'hlog, hgrm, csv' hist convert open.hlog
refused convert_unknown "there is no 'xml'" hist convert open.hlog --to xml
refused to_without_convert 'of convert' hist open.hlog --to hgrm
refused cut_what '\-\-from' hist cut open.hlog
refused from_garbage '\-\-from' hist open.hlog --from soon
refused from_after_until 'not before' hist open.hlog --from 5s --until 2s
refused no_such_tag 'none of' hist open.hlog --tag nobody
refused by_unknown "all, tag, file" hist open.hlog --by colour
refused table_too_fine 'finer than --unit s' hist open.hlog --unit s --table-unit ms
refused table_of_many 'one distribution' hist convert open.hlog closed.hlog --to hgrm --by file
awk 'NR == 9 { sub(/HISTFAAA/, "HISTFAAB") } { print }' open.hlog >bad.hlog
refused bad_line 'bad.hlog:9: ' hist bad.hlog
hist skip_bad bad.hlog --skip-bad --by none --json
grep -q 'bad.hlog: 1 line.* left out; the first: bad.hlog:9: ' err
result skipped_line_is_told $? "$(cat err)"
ln -s closed.hlog link.hlog
chmod 600 closed.hlog
hist through_link merge closed.hlog -o link.hlog
[ -L link.hlog ] && [ "$(stat -c %a closed.hlog)" = 600 ]
result link_and_mode_stay $? "$(ls -l link.hlog closed.hlog)"
expect nowhere 1 '/nowhere/out.*No such file' hist merge open.hlog -o /nowhere/out
expect full_disk 1 'No space left' hist convert open.hlog --to hlog -o /dev/full
expect full_disk_table 1 'No space left' hist convert open.hlog --to hgrm -o /dev/full
expect full_disk_json 1 'No space left' hist open.hlog --json -o /dev/full
expect full_disk_text 1 '' hist open.hlog -o /dev/full

finish
