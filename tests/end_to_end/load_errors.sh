#!/bin/bash
# `load` and `serve` when something is wrong: bad arguments, servers that misbehave or vanish, ^C.
# shellcheck source=tests/end_to_end/library.bash
. "$(dirname "$0")/library.bash"

quick=(--warmup 20ms --timeout 20s --quiet --json)

# ---- bad arguments -------------------------------------------------------------------------------

nobody=tcp://127.0.0.1:1
refused no_url 'URL such as http://.* tcp://' load -c 5
refused no_such_cpu 'cannot keep CPU 1023 awake' load $nobody --keep-awake 1023
refused two_urls '127.0.0.1:2' load $nobody tcp://127.0.0.1:2
for url in '' : :// word https:127.0.0.1:1 tcp:// tcp://127.0.0.1 tcp://127.0.0.1:x tcp://:7000 \
    tcp://127.0.0.1:99999 tcp://127.0.0.1:7x tcp://127.0.0.1:7/path tcp://::1:7000 'tcp://[::1]' \
    unix:; do
    refused "url_$url" 'loopmark load: .*(tcp://|PORT|port|needs a path)' load "$url"
done

# What its message has to contain (_ is any character), and the arguments.
while read -r pattern arguments; do
    # shellcheck disable=SC2086 # several arguments
    refused "load_${arguments// /_}" "${pattern//_/.}" load $nobody $arguments
done <<'TABLE'
from_1_to -c 0
like_100_or_10k -c 10x
like_100_or_10k -c -1
from_1_to -c 60001
with_its_unit -d 10
with_its_unit -d 10q
from_1_ms -d 0
from_1_ms -d 2h
from_1_to -n 0
not_a_whole -n 1.5
expected_a_whole -n 5x
a_TCP_port --set transport=unix
rate_per_second --rate 100x
rate_per_second --rate -1
rate_per_second --rate nan
rate_per_second --rate inf
from_0/s_to --rate 1000M
constant,_poisson --rate 5 --arrivals uniform
did_you_mean_size_bytes --set sizebytes=1
there_are:.*connections --set frobnicate=1
NAME=VALUE --set size_bytes
NAME=VALUE --set =5
a_size_like --set size_bytes=
a_size_like --set size_bytes=1x
from_1_B_to --set size_bytes=0
to_16_MiB --set size_bytes=1GiB
from_1_ms --timeout 0
no_process --pid 4194303
list_of_CPUs --cpus x
list_of_CPUs --cpus 5-2
seed --seed -1
from_1_to_64 -t 65
as_many_connections -t 4 -c 2
as_many_requests -t 2 -n 1
requires_an_argument -c 5 --rate
--rate -c 5 --arrivals poisson
--?(duration|requests) -d 5s -n 5
neither_on,_nor_off --keep-alive maybe
neither_on,_nor_off --keep-alive 0
like_1k:20k --ramp 100
like_1k:20k --ramp :100
--ramp.*rate --ramp 100:x
over_0 --ramp 0:100
--duration --ramp 100:200 -n 50
--rate --deadline 5ms
from_1_to_1,024 --pipeline 0
--source --source 127.0.0.1,,127.0.0.2
kind_of_addresses --source ::1
cannot_find_host --source 300.1.1.1
source_addresses --source 127.0.0.1 --set source_addresses=2
is_of_HTTP -X POST
is_of_HTTP -H A:b
is_of_HTTP --body text
is_of_HTTP --mix /dev/null
p99<10ms --slo p99
p99<10ms --slo p100<1s
p99<10ms --slo 99<1s
with_its_unit --slo p99<10
needs_at_least_368_requests --slo p99<10ms -n 367
needs_at_least_3688_requests --slo p99.9<10ms --rate 1000 -d 2s
--slo --strict
4xx,_5xx,_none --status-errors 3xx
127.0.0.1_is_an_address_already --set resolve=connection
TABLE
refused load_unknown_option frobnicate load $nobody --frobnicate
[ "$(grep -c frobnicate err)" -eq 1 ]
result load_says_it_once $? "an unknown option is reported twice"

while read -r pattern arguments; do
    # shellcheck disable=SC2086
    refused "load_http_${arguments// /_}" "${pattern//_/.}" load http://127.0.0.1:1/ $arguments
done <<'TABLE'
no_method -X G@T
tunnel -X CONNECT
Name:_value -H word
--keep-alive -H Connection:close
follows_from_the_body -H Content-Length:5
cannot_open --body @/nowhere/at/all
cannot_open --mix /nowhere/at/all
no_request --mix /dev/null
not_--method --mix /dev/null -X GET
TABLE

while read -r pattern arguments; do
    # shellcheck disable=SC2086
    refused "serve_${arguments// /_}" "${pattern//_/.}" serve $arguments
done <<'TABLE'
--listen_are_all_needed --loop epoll --workload echo
there_are:.*epoll --loop twisted --workload echo --listen 127.0.0.1:0
there_are:.*echo --loop epoll --workload gopher --listen 127.0.0.1:0
HOST:PORT --loop epoll --workload echo --listen 127.0.0.1
from_0_to_65535 --loop epoll --workload echo --listen 127.0.0.1:65536
needs_a_path --loop epoll --workload echo --listen unix:
unexpected_argument --loop epoll --workload echo --listen 127.0.0.1:0 more
there_are: --loop epoll --workload echo --listen 127.0.0.1:0 --set frobnicate=1
belongs_to_the_client --loop epoll --workload echo --listen 127.0.0.1:0 --set size_bytes=1
TABLE

# ---- nobody there, or somebody else --------------------------------------------------------------

expect refused_connection 1 'refused' load $nobody -c 5 -d 1s "${quick[@]}"
[ ! -s out ]
result refused_connection/nothing_on_stdout $? "$(head -n 1 out)"
grep -q '127.0.0.1:1' err
result refused_connection/address $? "it does not say where: $(cat err)"
expect no_socket_file 1 'no such file' load "unix:$folder/nowhere" -c 5 -d 1s "${quick[@]}"

start_loop epoll 127.0.0.1:0 || not_ok start "$(tail -n 1 server.err)"
expect port_in_use 1 "$address.*in use" serve --loop libuv --workload echo --listen "$address"
[ ! -s out ]
result port_in_use/nothing_on_stdout $? "$(head -n 1 out)"
expect no_such_folder 1 '/nowhere/socket.*No such file' \
    serve --loop epoll --workload echo --listen unix:/nowhere/socket
end "$server_pid"

# ---- servers that misbehave ----------------------------------------------------------------------

# faulty NAME FAULT STATUSES CONDITION ARGUMENTS: a load on faulty_server.py FAULT
faulty() {
    local name=$1 fault=$2 statuses=$3 condition=$4
    shift 4
    start_faulty "$fault" || not_ok "$name" "did not start: $(tail -n 1 faulty.err)"
    load_until "$name" "$statuses" "$condition" "$(url "$address")" "${quick[@]}" "$@"
    kill -0 "$server_pid"
    result "$name/server_lives" $? "the faulty server ended: $(tail -n 1 faulty.err)"
    end "$server_pid"
}

faulty wrong_bytes wrong 5 'r["errors"]["wrong_answer"] > 0 and not r["valid"] and
    any("wrong_answer" in reason for reason in r["invalid"])' -c 4 -d 300ms --verify
faulty wrong_bytes_rare wrong 5 'r["errors"]["wrong_answer"] > 0 and not r["valid"]' \
    -c 1 -d 300ms --rate 100 --verify --set size_bytes=100KiB
faulty wrong_bytes_not_looked_at wrong '0 5' 'sum(r["errors"].values()) == 0' -c 4 -n 200
faulty twice twice 5 'r["errors"]["wrong_answer"] > 0 and not r["valid"]' -c 2 -d 300ms
faulty close_after_one close 5 'r["errors"]["closed"] > 0 and not r["valid"] and
    r["requests"] > 0' -c 4 -d 400ms
faulty reset_midway reset 5 'r["errors"]["reset"] + r["errors"]["closed"] > 0 and
    not r["valid"] and r["requests"] == 0' -c 4 -d 400ms
# What was never answered took at least the timeout: the server cannot look fast by being silent.
faulty silent_closed silent 5 'r["errors"]["timeout"] >= 2 and r["requests"] == 0 and
    not r["valid"] and r["service_ns"]["min"] >= 99e6 and r["service_ns"]["count"] >= 2' \
    -c 2 -d 300ms --timeout 100ms
faulty silent_open silent 5 'r["errors"]["timeout"] >= 2 and r["requests"] == 0 and
    not r["valid"] and r["response_ns"]["min"] >= 99e6 and r["response_ns"]["count"] >= 50' \
    -c 2 -d 300ms --timeout 100ms --rate 200

# ---- servers that vanish -------------------------------------------------------------------------

# vanish NAME STATUSES ARGUMENTS: the server is killed in the middle of the load
vanish() {
    local name=$1 statuses=$2
    shift 2
    background load load "$target" "${quick[@]}" "$@"
    await 5 has_worked "$server_pid" 10
    end "$server_pid"
    await_end "$pid" 10
    case " $statuses " in
    *" $status "*) ok "$name" ;;
    *) not_ok "$name" "exit status $status: $(tail -n 1 load.err)" ;;
    esac
    if [ "$status" = 5 ]; then
        record "$name/record" load load.out 'not r["valid"]' \
            'r["errors"]["closed"] + r["errors"]["reset"] + r["errors"]["connect"] > 0'
    else
        grep -qE 'server .*is gone' load.err
        result "$name/message" $? "unclear: $(cat load.err)"
    fi
}
start_loop epoll 127.0.0.1:0
target=$(url "$address")
vanish killed_closed 1 -c 4 -d 60s
start_loop epoll 127.0.0.1:0
target=$(url "$address")
vanish killed_open 1 -c 4 -d 60s --rate 20000

# ---- a generator that stands still ---------------------------------------------------------------

# Answers that came while it could not read them are no timeouts.
start_loop epoll 127.0.0.1:0
background paused load "$(url "$address")" -c 4 -d 3s --warmup 0s --timeout 1s --quiet --json
await 10 has_worked "$server_pid" 10
kill -STOP "$pid"
sleep 2
kill -CONT "$pid"
await_end "$pid" 20
record paused load paused.out 'r["requests"] > 0' 'r["errors"]["timeout"] == 0'
end "$server_pid"

# ---- select's descriptors ------------------------------------------------------------------------

# shellcheck disable=SC2317 # `await` calls it
has_room() { [ "$(find "/proc/$server_pid/fd" | wc -l)" -lt 100 ]; }
if [ "$(ulimit -Hn)" = unlimited ] || [ "$(ulimit -Hn)" -ge 4096 ]; then
    start_loop select 127.0.0.1:0
    target=$(url "$address")
    # Either it sees in time that they are closed again, or it measures and says what was lost.
    run_loopmark load "$target" -c 2000 -d 1s --set connect_timeout=1s "${quick[@]}"
    case $status in
    1) grep -qE 'only [0-9]+ of 2000 connections' err ;;
    5) grep -qE '"(closed|reset)": [1-9]|[0-9]+ (closed|reset)' out ;;
    *) false ;;
    esac
    result select_2000 $? "exit status $status: $(last_words)"
    kill -0 "$server_pid"
    result select_2000/server_lives $? "the server ended: $(tail -n 1 server.err)"
    await 10 has_room # or it has no descriptors for the next ones yet
    run_loopmark load "$target" -c 100 -n 500 "${quick[@]}" --verify
    record select_2000/still_serves load out 'r["requests"] == 500' \
        'sum(r["errors"].values()) == 0'
    kill -TERM "$server_pid"
    await_end "$server_pid" 5
    [ "$status" = 0 ] && grep -q 'connections were refused' server.err
    result select_2000/server_says_so $? "status $status: $(cat server.err)"
else
    skip select_2000 "only $(ulimit -Hn) descriptors"
fi

# ---- ^C ------------------------------------------------------------------------------------------

start_loop epoll 127.0.0.1:0
target=$(url "$address")
# interrupt NAME SIGNAL ARGUMENTS
interrupt() {
    local name=$1 signal=$2 before
    shift 2
    read -r -a before <<<"$(sed 's/.*) //' "/proc/$server_pid/stat")"
    background load load "$target" "${quick[@]}" -d 60s "$@"
    await 10 has_worked "$server_pid" $((before[11] + before[12] + 10))
    kill "-$signal" "$pid"
    await_end "$pid" 5
    [ "$status" = 130 ]
    result "$name" $? "exit status $status: $(tail -n 1 load.err)"
    # What was under way at the end may be counted as a timeout.
    record "$name/record" load load.out 'r["interrupted"]' 'r["requests"] > 0' \
        'sum(r["errors"].values()) == r["errors"]["timeout"]'
}
interrupt interrupt_closed INT -c 4
interrupt interrupt_open INT -c 4 --rate 20000
interrupt interrupt_threads INT -c 4 -t 2
interrupt terminate_closed TERM -c 4
kill -0 "$server_pid"
result interrupt_leaves_server $? "the server ended too"
end "$server_pid"

# Its generator has a process of its own, which goes with it.
# shellcheck disable=SC2317 # `await` calls them
generator_runs() { [ -n "$("$python" "$here/processes.py" "$pid")" ]; }
# shellcheck disable=SC2317
generator_gone() { has_ended "$generator"; }
start_faulty silent
background load load "$(url "$address")" -c 2 -d 60s --rate 100 --timeout 50min "${quick[@]}"
await 5 generator_runs
sleep 0.3 # until it measures: nothing here can tell
kill -INT "$pid"
await_end "$pid" 5
[ "$status" = 130 ]
result interrupt_silent_server $? "exit status $status: $(tail -n 1 load.err)"

background load load "$(url "$address")" -c 2 -d 60s --rate 100 --timeout 50min "${quick[@]}"
await 5 generator_runs
generator=$("$python" "$here/processes.py" "$pid")
sleep 0.3
kill -INT "$pid"
sleep 0.1
kill -INT "$pid"
await_end "$pid" 5
[ "$status" = 130 ] && await 5 generator_gone
result second_interrupt $? "exit status $status, generator $generator"

background load load "$(url "$address")" -c 2 -d 60s --timeout 50min "${quick[@]}"
await 5 generator_runs
generator=$("$python" "$here/processes.py" "$pid")
end "$pid"
await 5 generator_gone
result killed_load_takes_generator $? "process $generator is left"

background load load "$(url "$address")" -c 2 -d 60s --timeout 50min "${quick[@]}"
await 5 generator_runs
kill -KILL "$("$python" "$here/processes.py" "$pid")"
await_end "$pid" 5
[ "$status" = 1 ] && grep -q 'signal 9' load.err
result killed_generator $? "exit status $status: $(cat load.err)"
end "$server_pid"

# ---- results that cannot be written --------------------------------------------------------------

start_loop epoll 127.0.0.1:0
target=$(url "$address")
for format in --json --quiet; do
    timeout 20 "$LOOPMARK" load "$target" -c 2 -n 500 --warmup 0 -q $format >/dev/full 2>err
    status=$?
    [[ $status = [15] ]] && grep -q 'No space left' err # 5: it was not valid either
    result "full_disk$format" $? "exit status $status: $(cat err)"
done
expect hgrm_nowhere 1 '/nowhere/times.*No such file' \
    load "$target" -c 2 -n 500 "${quick[@]}" --hgrm /nowhere/times
record hgrm_nowhere/record load out 'r["requests"] == 500'
end "$server_pid"

finish
