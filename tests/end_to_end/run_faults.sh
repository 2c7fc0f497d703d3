#!/bin/bash
# `run` when something goes wrong: ^C, killed servers and runners, a full disk, bad experiments.
# What was measured before stays, and nothing goes on running.
# shellcheck source=tests/end_to_end/library.bash
. "$(dirname "$0")/library.bash"

# write_experiment FILE SERVERS DURATION [LINES]
write_experiment() {
    cat >"$1" <<EXPERIMENT
[experiment]
question = What remains?
workload = echo
server   = $2
measure  = capacity
set.connections = 4
set.warmup      = 0s
set.duration    = $3
repetitions     = 60
${4-}
EXPERIMENT
}

# in_record FILE CONDITION: a look at a record that is being written
# shellcheck disable=SC2317 # `await` calls it, as the next ones
in_record() {
    "$python" - "$1" "$2" 2>/dev/null <<'LOOK'
import json, sys
r = json.load(open(sys.argv[1]))
tries = {(x["cell"], x["block"], x["position"]): x for x in r["repetitions"]}  # without retries
sys.exit(not eval(sys.argv[2], {"reps": list(tries.values())}))
LOOK
}
# server_of PID: sets server_pid to the runner's server, if there is one with all its connections
# shellcheck disable=SC2317
server_of() {
    server_pid=$("$python" "$here/processes.py" "$1" serve | head -n 1)
    [ -n "$server_pid" ] &&
        [ "$(find "/proc/$server_pid/fd" -lname 'socket:*' 2>/dev/null | wc -l)" -gt 4 ]
}
# shellcheck disable=SC2317
nothing_runs() { [ -z "$("$python" "$here/processes.py")" ]; }

# ---- refused before anything runs ----------------------------------------------------------------

# refused_experiment NAME PATTERN LINES: an experiment with these lines is refused
refused_experiment() {
    write_experiment "$1.ini" "select, epoll" 100ms "$3"
    refused "$1" "$2" run "$1.ini" --out "$1"
    [ ! -e "$1" ] && [ ! -e results ]
    result "$1/no_folder" $? "there is a folder of results"
}
refused_experiment unknown_key 'unknown_key.ini:10: .*colour' 'colour = blue'
refused_experiment unknown_knob 'unknown_knob.ini:10: .*size_bytes' 'set.sizebytes = 1'
refused_experiment garbage_number 'garbage_number.ini:10: ' 'set.in_flight = 5x'
refused_experiment unknown_server 'unknown_server.ini:10: ' '[server nobody]'
refused_experiment select_2000 'select_2000.ini:[0-9]+: select .*2000 connections' \
    'set.idle_connections = 1996'
write_experiment fine.ini "select, epoll" 100ms
refused select_2000_set 'select .*2004 connections' \
    run fine.ini --out refused --set idle_connections=2000
refused unknown_experiment "'nothere'.*loop-echo" run nothere --out refused
refused no_such_file 'nothere.ini.*No such file' run ./nothere.ini --out refused
refused second_is_unknown "'nothere'" run fine.ini nothere --out refused
refused set_unknown 'there are: .*connections' run fine.ini --set frobnicate=1 --out refused
refused repetitions_zero 'from 1 to' run fine.ini --repetitions 0 --out refused
refused seed_garbage 'seed' run fine.ini --seed 5x --out refused
refused cpu_missing 'CPU 1000' \
    run fine.ini --server-cpus 1000 --generator-cpus 0 --out refused
refused one_kind_of_cpus 'belong together' run fine.ini --server-cpus 0 --out refused
[ ! -e refused ]
result refused/no_folder $? "there is a folder of results"

# ---- folders that cannot be written --------------------------------------------------------------

expect out_under_file 1 'fine.ini.*(Not a directory)' run fine.ini --out fine.ini/results -q
if [ "$(id -u)" -ne 0 ]; then
    mkdir read-only && chmod a-w read-only
    expect out_read_only 1 'read-only.*Permission denied' run fine.ini --out read-only/r -q
    chmod u+w read-only
    skip full_disk "only root can mount a small disk"
else
    mkdir disk
    if mount -t tmpfs -o ro none disk 2>/dev/null; then
        mounted=$folder/disk
        expect out_read_only 1 'disk/r.*Read-only' run fine.ini --out disk/r -q
        umount disk && mounted=
    else
        skip out_read_only "root may write everywhere, and cannot mount here"
    fi
    # Of several sizes: what is written when it is full should not matter.
    for size in 60k 80k 100k; do
        if ! mount -t tmpfs -o size=$size none disk 2>/dev/null; then
            skip full_disk "mounting a small disk takes root with CAP_SYS_ADMIN"
            break
        fi
        mounted=$folder/disk
        expect full_disk_$size 1 'disk/r/.*No space left' run fine.ini --out disk/r -q \
            --set duration=5ms --no-plots
        record full_disk_$size/record run disk/r/run.json 'len(reps) >= 2' 'len(reps) % 2 == 0' \
            'not r["complete"]'
        [ -z "$(find disk -name '*.tmp')" ]
        result full_disk_$size/no_temporary_file $? "$(find disk -name '*.tmp')"
        umount disk && mounted=
    done
fi

# ---- ^C ------------------------------------------------------------------------------------------

# interrupt NAME SIGNAL: after two blocks, in the middle of the third or a later one
interrupt() {
    background "$1" run fine.ini --out "$1" --set duration=100ms --no-plots
    await 20 in_record "$1/run.json" 'len(reps) >= 4'
    kill "-$2" "$pid"
    await_end "$pid" 10
    [ "$status" = 130 ]
    result "$1" $? "exit status $status: $(tail -n 1 "$1.err")"
    record "$1/record" run "$1/run.json" 'not r["complete"]' \
        'r["ended_because"] == "interrupted"' '4 <= len(reps) < 120' \
        'any(x["requests"] > 0 for x in reps)' 'not any(x["interrupted"] for x in reps)'
    [ -s "$1/repetitions.csv" ] && [ "$(wc -l <"$1/repetitions.csv")" -ge 5 ] &&
        [ -s "$1/report.md" ]
    result "$1/report" $? "what was measured has no report"
    await 5 nothing_runs
    result "$1/nothing_runs" $? "left: $("$python" "$here/processes.py")"
}
interrupt interrupted INT
interrupt terminated TERM

# ---- killed --------------------------------------------------------------------------------------

background killed run fine.ini --out killed --set duration=300ms --no-plots
await 20 in_record killed/run.json 'len(reps) >= 2'
await 5 server_of "$pid"
end "$pid"
await 5 nothing_runs
result killed_runner/nothing_runs $? "left: $("$python" "$here/processes.py")"
record killed_runner/record run killed/run.json 'not r["complete"]' 'len(reps) >= 2' \
    'r["finished_utc"] is None'
run_loopmark report killed
[ "$status" -eq 0 ] && [ -s killed/repetitions.csv ]
result killed_runner/report $? "status $status: $(last_words)"

write_experiment long.ini epoll 4s
background shot run long.ini --out shot --repetitions 2 --no-plots
await 10 server_of "$pid"
kill -KILL "$server_pid"
await_end "$pid" 30
[ "$status" = 1 ] && grep -q '1 of 2 repetitions failed' shot.err
result killed_server $? "exit status $status: $(tail -n 1 shot.err)"
record killed_server/record run shot/run.json 'r["complete"]' 'len(reps) == 2' \
    'not reps[0]["valid"] and any("signal 9" in why for why in reps[0]["invalid"])' \
    'reps[1]["requests"] > 0 and not any("signal" in why for why in reps[1]["invalid"])'

# A generator that dies says so, and the server goes on to be stopped.
background lamed run long.ini --out lamed --repetitions 1 --no-plots
await 10 server_of "$pid"
for process in $("$python" "$here/processes.py" "$pid" run); do
    kill -KILL "$process"
done
await_end "$pid" 10
[ "$status" = 1 ]
result killed_generator $? "exit status $status: $(tail -n 1 lamed.err)"
record killed_generator/record run lamed/run.json \
    'not reps[0]["valid"] and "signal 9" in reps[0]["invalid"][0]'

# ---- foreign servers -----------------------------------------------------------------------------

start_faulty none
busy=$address
# foreign NAME COMMAND CONDITION…: a foreign server that fails beside epoll, which does not
foreign() {
    local name=$1 command=$2
    shift 2
    write_experiment "$name.ini" "epoll, other" 50ms "[server other]
command = $command"
    run_until 'all(x["requests"] > 0 for x in reps if x["loop"])' "$name" "$name.ini" \
        --repetitions 3 --no-plots
    [ "$status" -eq 1 ] && grep -q 'repetitions failed' err
    result "$name" $? "exit status $status: $(last_words)"
    record "$name/record" run "$name/run.json" 'r["complete"]' \
        'len([x for x in reps if x["server_name"] == "epoll" and x["requests"] > 0]) == 3' "$@"
}
others='[x["invalid"][0] for x in reps if x["server_name"] == "other"]'
foreign port_in_use "$python $here/faulty_server.py none $busy {listen}" \
    "all('$busy: Address already in use' in why for why in $others)" "len($others) == 2" \
    'r["experiments"][0]["skipped"][0]["server_name"] == "other"' \
    '"in use" in r["experiments"][0]["skipped"][0]["reason"]'
end "$server_pid"
# shellcheck disable=SC2016 # for the shell that runs it
printf '%s\n' 'echo "reading $1"; echo "bad thing: no config" >&2; exit 3' >broken.sh
foreign server_exits "/bin/sh $folder/broken.sh {listen}" \
    "all('exit code 3: bad thing: no config' in why for why in $others)"
foreign server_missing "$folder/nowhere/server {listen}" \
    "all('exit code 127' in why and 'nowhere/server' in why for why in $others)"

# One that answers wrongly is measured and not valid. A smoke run looks at every byte.
write_experiment wrong.ini "epoll, other" 50ms "[server other]
command = $python $here/faulty_server.py wrong {listen}"
run_until 'all(x["errors"]["wrong_answer"] > 0 for x in reps if x["loop"] is None)' \
    wrong wrong.ini --smoke --no-plots
[ "$status" -eq 5 ]
result wrong_answers_exit $? "exit status $status, not 5"
record wrong_answers run wrong/run.json \
    'all(x["errors"]["wrong_answer"] > 0 and not x["valid"] for x in reps if x["loop"] is None)' \
    'all(x["errors"]["wrong_answer"] == 0 for x in reps if x["loop"])'

finish
