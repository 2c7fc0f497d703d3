#!/bin/bash
# `run`, `report` and `plot` when all goes well: the files of results/README.md, the order of the
# repetitions, what --set, --seed, --out and the scopes do. No time and no rate is judged here.
# shellcheck source=tests/end_to_end/library.bash
. "$(dirname "$0")/library.bash"

cat >tiny.ini <<'EXPERIMENT'
[experiment]
question = Does it run?
workload = echo
server   = select, epoll, missing
measure  = capacity
vary.size_bytes = 16, 1KiB
set.connections = 4
set.warmup      = 20ms
set.duration    = 100ms
repetitions     = 2
headline             = size_bytes:1024
headline_repetitions = 1
headline.duration    = 50ms
[server missing]
command = nonexistent-program --listen {listen}
needs   = nonexistent-program
EXPERIMENT

# measured NAME: it ended with 0, or 5 on a machine that is too busy to measure on.
measured() {
    case $status in
    0 | 5) ok "$1" ;;
    *) not_ok "$1" "exit status $status: $(last_words)" ;;
    esac
}

# measure NAME ARGUMENTS
measure() {
    run_loopmark run --quiet "${@:2}"
    measured "$1"
}

# measure_answers NAME FOLDER ARGUMENTS: every server is to answer in every repetition
measure_answers() {
    run_until 'all(x["requests"] > 0 and sum(x["errors"].values()) == 0 for x in reps)' \
        "$2" --quiet "${@:3}"
    measured "$1"
}

# servers_of FOLDER: who ran in which order, one line a repetition
servers_of() {
    "$python" -c 'import json, sys
for r in json.load(open(sys.argv[1] + "/run.json"))["repetitions"]:
    print(r["cell"], r["block"], r["position"], r["server_name"])' "$1" | uniq # retries
}

# ---- the files -----------------------------------------------------------------------------------

measure_answers run first tiny.ini --seed 7
if [ -s err ]; then not_ok quiet "on stderr: $(head -n 1 err)"; else ok quiet; fi
grep -q 'first' out
result says_where $? "the folder is not on stdout"
record record run first/run.json 'len(reps) == 8' 'r["complete"]' 'r["seed"] == 7' \
    'r["scope"] == "full" and r["finished_utc"] >= r["started_utc"]' \
    '{x["cell"] for x in reps} == {"size_bytes=16", "size_bytes=1024"}' \
    '{x["block"] for x in reps} == {0, 1}' \
    '{x["server_name"] for x in reps} == {"select", "epoll"}' \
    'all(x["loop"] == x["server_name"] for x in reps)' \
    'all(x["knobs"]["size_bytes"] == int(x["cell"][11:]) for x in reps)' \
    'all(x["knobs"]["duration_ns"] == 100_000_000 for x in reps)' \
    'all(x["requests"] > 0 and sum(x["errors"].values()) == 0 for x in reps)' \
    'all(x["server"]["cpu_us_per_request"] > 0 for x in reps)' \
    'r["experiments"][0]["axes"] == ["size_bytes"]'
record skipped_row run first/run.json '[(s["server_name"], s["cell"]) for s in
    r["experiments"][0]["skipped"]] == [("missing", None)]' \
    '"nonexistent-program" in r["experiments"][0]["skipped"][0]["reason"]'
record floor run first/run.json 'all(x["floor_us_per_request"] for x in reps)' \
    'len({x["floor_us_per_request"] for x in reps}) == 4' # two cells, two blocks
record command run first/run.json '"tiny.ini" in r["command"] and "--seed" in r["command"]'
for file in repetitions.csv tiny.csv report.md latency plots; do
    [ -e "first/$file" ]
    result "file_$file" $? "it is missing"
done
why=$("$python" - <<'CSV' 2>&1
import csv, json
run = json.load(open("first/run.json"))
rows = list(csv.reader(open("first/repetitions.csv", newline="")))
assert len(rows) == 1 + len(run["repetitions"]), f"{len(rows)} lines in repetitions.csv"
assert len({len(row) for row in rows}) == 1, "repetitions.csv has lines of several lengths"
for row, repetition in zip(rows[1:], run["repetitions"]):
    row = dict(zip(rows[0], row))
    assert row["server"] == repetition["server_name"] and row["cell"] == repetition["cell"], row
    assert row["requests"] == str(repetition["requests"]), row
    assert row["valid"] == str(int(repetition["valid"])), row
cells = list(csv.DictReader(open("first/tiny.csv", newline="")))
got = {(row["cell"], row["server"]): int(row["valid"]) for row in cells}
for cell in "size_bytes=16", "size_bytes=1024":
    for server in "select", "epoll":
        valid = sum(r["valid"] for r in run["repetitions"]
                    if (r["cell"], r["server_name"]) == (cell, server))
        assert got[cell, server] == valid, f"{cell} {server}: {got}"
CSV
)
result csv $? "$(tail -n 1 <<<"$why")"
[ -z "$(find first -name '*.tmp')" ]
result no_temporary_files $? "$(find first -name '*.tmp')"
[ ! -e results ]
result out_only $? "with --out there is a folder results/ too"

# Without --quiet every skipped server is told; without a terminal there is no cursor movement.
run_loopmark run tiny.ini --out told --repetitions 1 --no-plots --set size_bytes=16
grep -q 'missing skipped.*nonexistent-program' err && ! grep -q $'\033' err out
result skipped_is_told $? "$(cat err)"

# ---- again from the record -----------------------------------------------------------------------

before=$(md5sum first/run.json)
rm -rf first/report.md first/*.csv
run_loopmark report first
[ "$status" -eq 0 ] && [ -s out ] && [ -s first/report.md ] && [ -s first/tiny.csv ] &&
    [ -s first/repetitions.csv ] && grep -q epoll out && grep -q epoll first/report.md
result report_again $? "status $status: $(last_words)"
if command -v gnuplot >/dev/null; then
    rm -rf first/plots
    run_loopmark plot first
    [ "$status" -eq 0 ] && [ -n "$(find first/plots -name '*.png' -size +1k)" ] &&
        [ -n "$(find first/plots -name '*.svg' -size +1k)" ]
    result plot_again $? "status $status: $(last_words)"
else
    skip plot_again "gnuplot is missing"
fi
[ "$before" = "$(md5sum first/run.json)" ]
result record_untouched $? "report or plot changed run.json"

# ---- nothing is overwritten ----------------------------------------------------------------------

refused out_taken 'first holds a run' run tiny.ini --out first
[ "$before" = "$(md5sum first/run.json)" ]
result out_untouched $? "the refused run changed run.json"

short=(--set duration=10ms --set warmup=0 --no-plots)
brief=(--set duration=50ms --set warmup=0 --no-plots) # enough for an answer
mkdir elsewhere && cd elsewhere || exit 1
measure own_folder ../tiny.ini "${short[@]}" --set size_bytes=16
sleep 1.1 # names have seconds
measure own_folder_again ../tiny.ini "${short[@]}" --set size_bytes=16
[ "$(find results -name run.json | wc -l)" -eq 2 ] &&
    [ "$(readlink -f results/latest)" = "$(readlink -f "$(find results -path '*Z-*' -name run.json |
        sort | tail -n 1 | xargs dirname)")" ]
result latest $? "$(find results)"
record latest_record run results/latest/run.json 'r["complete"]'
cd "$folder" || exit 1

# ---- the order -----------------------------------------------------------------------------------

order=(tiny.ini "${short[@]}" --repetitions 6)
measure order "${order[@]}" --seed 1 --out seed-1
measure order_again "${order[@]}" --seed 1 --out seed-1-again
measure order_other "${order[@]}" --seed 2 --out seed-2
record every_server_once run seed-1/run.json 'len(reps) == 24' \
    'len({(x["cell"], x["block"], x["server_name"]) for x in reps}) == 24'
record order_differs run seed-1/run.json \
    '{x["server_name"] for x in reps if x["position"] == 0} == {"select", "epoll"}' \
    'len({tuple(x["cell"] for x in reps if x["block"] == b)[::2] for b in range(6)}) == 2'
[ "$(servers_of seed-1)" = "$(servers_of seed-1-again)" ]
result seed_repeats $? "the same seed gave another order"
[ "$(servers_of seed-1)" != "$(servers_of seed-2)" ]
result seed_matters $? "another seed gave the same order"

# ---- --set and the scopes ------------------------------------------------------------------------

measure set_values tiny.ini "${short[@]}" --repetitions 1 --out set \
    --set size_bytes=64 --set connections=2,3
record set_record run set/run.json 'len(reps) == 4' \
    'r["experiments"][0]["axes"].count("connections") == 1' \
    '{x["knobs"]["connections"] for x in reps} == {2, 3}' \
    'all(x["knobs"]["size_bytes"] == 64 and x["knobs"]["duration_ns"] == 10**7 for x in reps)' \
    'all(x["client"]["connections"] == x["knobs"]["connections"] for x in reps)'
measure headline tiny.ini --headline --no-plots --out headline
record headline_record run headline/run.json 'r["scope"] == "headline" and len(reps) == 2' \
    'all(x["cell"] == "size_bytes=1024" for x in reps)' \
    'all(x["knobs"]["duration_ns"] == 50_000_000 for x in reps)'
measure smoke tiny.ini --smoke --no-plots --out smoke
record smoke_record run smoke/run.json 'r["scope"] == "smoke" and len(reps) == 2' \
    'r["pinning"]["kept_awake"] is False and all(x["host"]["kept_awake"] is None for x in reps)'
measure awake tiny.ini --smoke --no-plots --keep-awake --out awake
record awake_record run awake/run.json 'r["pinning"]["kept_awake"]' \
    'all(x["host"]["kept_awake"] for x in reps)' \
    'r["environment"]["caption"].endswith(", kept awake")' \
    'any("kept from sleeping" in text for text in r["environment"]["warnings"])'

# ---- transports and floors -----------------------------------------------------------------------

# Our loops and a foreign server. A floor needs one request in flight; each transport has its own.
sed -e 's/, missing/, python/; /missing\]/,$d; /vary/d; /headline/d' tiny.ini >transport.ini
cat >>transport.ini <<EXPERIMENT
[server python]
command = $python workloads/servers/echo_asyncio.py --loop asyncio --listen {listen}
needs   = $python
EXPERIMENT
sed -i 's/^set.connections.*/&\nvary.transport = tcp, unix\nvary.in_flight = 1, 2/' transport.ini
measure_answers transports transports transport.ini "${brief[@]}" --repetitions 1
record transports_record run transports/run.json 'len(reps) == 12' \
    '{(x["server_name"], x["knobs"]["transport"]) for x in reps if x["requests"] > 0} ==
     {(s, t) for s in ("select", "epoll", "python") for t in ("tcp", "unix")}' \
    'all(x["cell"].startswith("transport=" + x["knobs"]["transport"]) for x in reps)' \
    'all((x["floor_us_per_request"] is None) == (x["knobs"]["in_flight"] == 2) for x in reps)' \
    'r["experiments"][0]["skipped"] == []'
grep -q ',server_cpu_over_floor,' transports/transport.csv
result floor_column $? "transport.csv has none"

# What is really listened on: the server is told so by its address.
cat >tell.sh <<TELL
echo "\$1" >>$folder/addresses
exec $python workloads/servers/echo_asyncio.py --loop asyncio --listen "\$1"
TELL
sed "s|command = .*|command = /bin/sh $folder/tell.sh {listen}|" transport.ini >told.ini
measure listens told.ini "${short[@]}" --repetitions 1 --set in_flight=1 --out listened
grep -q '^unix:/' addresses && grep -q '^127.0.0.1:' addresses
result listens_on_transport $? "$(cat addresses)"
while IFS= read -r address; do
    [ ! -e "${address#unix:}" ]
    result socket_is_gone $? "$address is still there"
done < <(grep '^unix:' addresses)

sed -e 's/= capacity/= latency/; /vary/d; /headline/d' \
    -e 's/^set.connections.*/set.connections = 4\nset.rate = 1000\nset.arrivals = poisson/' \
    tiny.ini >open.ini
measure two_experiments tiny.ini open.ini --no-plots --repetitions 1 --out two
record two_record run two/run.json 'len(r["experiments"]) == 2 and len(reps) == 6' \
    'all((x["offered_rate"] is not None) == (x["experiment"] == "open") for x in reps)' \
    'all(x["arrivals"] == "poisson" for x in reps if x["experiment"] == "open")' \
    'all(x["cell"] == "all" for x in reps if x["experiment"] == "open")'
[ -s two/tiny.csv ] && [ -s two/open.csv ]
result two_csv $? "an experiment has no CSV file"

# In turns: side by side, each measured for as long as it was asked for, and for no more requests.
sed -e 's/= capacity/= cost\nturns = 10ms/; /vary/d; /headline/d' \
    -e 's/^set.connections.*/set.connections = 4\nset.rate = 1000/' tiny.ini >turns.ini
measure turns turns.ini --no-plots --repetitions 3 --out turns
record turns_record run turns/run.json 'len(reps) >= 6' \
    'all(x["turns"]["count"] == 2 and x["turns"]["length_ns"] == 10**7 for x in reps)' \
    'all({x["turns"]["number"] for x in reps if x["block"] == b} == {0, 1} for b in range(3))' \
    'all(x["requests"] + x["unsent"] + sum(x["errors"].values()) == 100 for x in reps)' \
    'all(x["offered_rate"] == 1000 for x in reps)'
record alone_record run two/run.json 'all(x["turns"] is None for x in reps)'

# ---- where experiments come from -----------------------------------------------------------------

mkdir -p source/harness/experiments
sed '/missing\]/,$d; s/, missing/, own/' tiny.ini >source/harness/experiments/mine.ini
cat >>source/harness/experiments/mine.ini <<EXPERIMENT
[server own]
command = $python server.py none {listen} {connections}
needs = $python
version_command = echo own 1.2
EXPERIMENT
cp "$here/faulty_server.py" source/server.py # found only from the folder of the source
LOOPMARK_SOURCE=$folder/source measure_answers source mine mine "${brief[@]}" \
    --set size_bytes=16 --repetitions 1
record source_record run mine/run.json 'len(reps) == 3' \
    '[x["loop"] for x in reps if x["server_name"] == "own"] == [None]' \
    'all(x["server"]["copied_bytes"] is None for x in reps if x["loop"] is None)' \
    'all(x["server"]["cpu_us_per_request"] > 0 and x["requests"] > 0 for x in reps)' \
    '[s["version"] for s in r["experiments"][0]["servers"] if s["name"] == "own"] == ["own 1.2"]'

run_loopmark run tiny.ini "${short[@]}" --repetitions 1 --set size_bytes=16 --out json --json -q
"$python" -c 'import json
r = json.load(open("out"))
assert r["directory"] == "json" and r["complete"] and r["repetitions"] >= 2, r
assert r["failed"] == 0 and r["skipped"] == 1, r' 2>why
result json $? "status $status: $(tail -n 1 why)"

finish
