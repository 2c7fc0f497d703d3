#!/bin/bash
# `serve` and `load` together: every loop on every kind of address, closed and open loop, whole
# records, and servers that end as they should. No time and no rate is judged here.
# shellcheck source=tests/end_to_end/library.bash
. "$(dirname "$0")/library.bash"

quick=(--warmup 20ms --timeout 20s --quiet --json)
no_errors='sum(r["errors"].values()) == 0'

# load NAME CONDITION ARGUMENTS: measures, and holds CONDITION and the contract against the record.
# Whether it is valid depends on the machine; the exit code has to agree with it.
load() {
    local name=$1 condition=$2
    shift 2
    run_loopmark load "$target" "${quick[@]}" "$@"
    if [ "$status" -ne 0 ] && [ "$status" -ne 5 ]; then
        not_ok "$name" "exit status $status: $(last_words)"
    elif [ -s err ]; then
        not_ok "$name" "it is not quiet: $(head -n 1 err)"
    else
        record "$name" load out "$condition" "$no_errors" "r['valid'] == ($status == 0)"
    fi
}

# Bytes through a plain client: in two parts, and with the end of sending before the last answer.
check_bytes() {
    "$python" - "$address" <<'CLIENT' >why 2>&1
import random, socket, sys, threading
address = sys.argv[1]
if address.startswith("unix:"):
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(address[5:])
else:
    host, _, port = address.rpartition(":")
    sock = socket.create_connection((host.strip("[]"), int(port)))
sock.settimeout(10)
sent, got = random.Random(1).randbytes(300_000), bytearray()
def send():
    sock.sendall(sent[:1])
    sock.sendall(sent[1:])
    sock.shutdown(socket.SHUT_WR)
threading.Thread(target=send, daemon=True).start()
while data := sock.recv(1 << 16):
    got += data
assert got == sent, f"{len(got)} of {len(sent)} bytes came back, or they were changed"
CLIENT
    result "$1" $? "$(tail -n 1 why)"
}

# check_end NAME SIGNAL: with a client connected
check_end() {
    background idle load "$target" -c 3 -d 60s "${quick[@]}"
    await 5 has_worked "$server_pid" 3
    kill "-$2" "$server_pid"
    await_end "$server_pid" 5
    if [ "$status" != 0 ]; then
        not_ok "$1" "exit status $status after SIG$2: $(tail -n 1 server.err)"
    elif [ "$(wc -l <server.out)" -ne 1 ] || [ -s server.err ]; then
        not_ok "$1" "more than its one line: $(cat server.out server.err)"
    else
        ok "$1"
    fi
    end "$pid"
}

# All sizes, with every byte checked.
check_closed_loop() {
    local size count
    for size in 1 1KiB 1MiB; do
        count=2000
        [ $size = 1MiB ] && count=60
        load "$1/closed_$size" "r['requests'] == $count and r['offered_rate'] is None and
            r['client']['received_bytes'] == $count * r['knobs']['size_bytes']" \
            -c 8 -n $count --verify --set size_bytes=$size
    done
}

check_open_loop() {
    local arrivals
    for arrivals in constant poisson; do
        load "$1/open_$arrivals" "r['arrivals'] == '$arrivals' and
            125 <= r['requests'] + r['unsent'] <= 375 and 1250 < r['offered_rate'] < 3750 and
            r['achieved_rate'] <= r['offered_rate'] * 1.000001" \
            -c 20 -d 100ms --rate 2500 --arrivals $arrivals --verify
    done
}

# The remaining knobs, on one kind of address.
check_knobs() {
    load "$1/in_flight" 'r["requests"] == 2000' -c 4 -n 2000 --set in_flight=16 --verify
    load "$1/idle_connections" 'r["requests"] == 500 and r["client"]["connections"] == 205' \
        -c 5 -n 500 --set idle_connections=200
    load "$1/threads" 'r["requests"] == 2000 and r["client"]["threads"] == 2 and
        r["client"]["slowest_connection_requests"] <= 250 <=
        r["client"]["fastest_connection_requests"] and
        r["client"]["slowest_connection_requests"] <=
        r["client"]["median_connection_requests"] <=
        r["client"]["fastest_connection_requests"]' -c 8 -n 2000 -t 2 --verify
    load "$1/threads_open" 'r["offered_rate"] > 1000' -c 8 -d 100ms -t 2 --rate 2000 --verify
    load "$1/requests_open" 'r["requests"] == 300' -c 8 -n 300 --rate 3000 --verify
    load "$1/source_addresses" 'r["requests"] == 500' -c 32 -n 500 --set source_addresses=16
    load "$1/pid" 'r["server"]["cpu_us_per_request"] > 0 and r["server"]["max_rss_bytes"] > 0' \
        -c 4 -n 2000 --pid "$server_pid"
}

# check_server LOOP KIND LISTEN SIGNAL
check_server() {
    local name=$1/$2
    if ! start_loop "$1" "$3"; then
        not_ok "$name" "did not start: $(tail -n 1 server.err)"
        return
    fi
    target=$(url "$address")
    case $address in *:0) not_ok "$name/port" "port 0 was not resolved" ;; esac
    check_bytes "$name/bytes"
    check_closed_loop "$name"
    check_open_loop "$name"
    [ "$2" = tcp ] && check_knobs "$name"
    check_end "$name/SIG$4" "$4"
    if [ "$2" = unix ]; then
        [ ! -e socket ]
        result "$name/file_removed" $? "the socket file stayed behind"
    fi
}

# ---- every loop ----------------------------------------------------------------------------------

mapfile -t loops < <(available_loops)
[ ${#loops[@]} -ge 2 ]
result loops $? "only ${loops[*]-none}"
for loop in "${loops[@]}"; do
    check_server "$loop" tcp 127.0.0.1:0 TERM
    check_server "$loop" unix "unix:$folder/socket" INT
    if has_ipv6; then
        check_server "$loop" tcp6 '[::1]:0' INT
    else
        skip "$loop/tcp6" "no IPv6 on the loopback device"
    fi
done

# ---- what is printed -----------------------------------------------------------------------------

start_loop epoll 127.0.0.1:0 || not_ok start "$(tail -n 1 server.err)"
target=$(url "$address")

load few_samples 'r["requests"] == 20 and r["response_ns"]["p50"] is not None and
    r["response_ns"]["p90"] is None and r["response_ns"]["p99"] is None and
    r["response_ns"]["intervals"].keys() == {"p50"}' -c 1 -n 20
load one_request 'r["requests"] == 1 and r["response_ns"]["p50"] is None and
    r["response_ns"]["max"] > 0' -c 1 -n 1
load one_a_second '2 <= len(r["intervals"]) <= 4 and
    sum(i["rate"] for i in r["intervals"]) > 100' -c 2 -d 2200ms --rate 500
load no_warmup 'r["requests"] == 50' -c 2 -n 50 --warmup 0

run_loopmark load "$target" -c 4 -n 2000 --warmup 20ms --quiet
case $status in 0 | 5) grep -q '2,000 answers' out && grep -q 'p99' out ;; *) false ;; esac
result text $? "status $status: $(cat out err)"

run_loopmark load "$target" -c 4 -n 2000 "${quick[@]}" --hgrm times.hgrm
"$python" - <<'HGRM' >why 2>&1
import json, re
record = json.load(open("out"))["response_ns"]
lines = open("times.hgrm").read().splitlines()
assert lines[0].split() == ["Value", "Percentile", "TotalCount", "1/(1-Percentile)"], lines[0]
rows = [[float(field) for field in line.split()] for line in lines[1:]
        if line and not line.startswith("#")]
assert len(rows) > 10, f"only {len(rows)} lines"
for before, after in zip(rows, rows[1:]):
    assert all(a >= b for a, b in zip(after[:3], before[:3])), f"{after} after {before}"
assert rows[-1][1:] == [1.0, record["count"]], rows[-1]
assert abs(rows[-1][0] * 1e6 / record["max"] - 1) < 0.01 or rows[-1][0] < 0.2, "the maximum"
footer = "\n".join(line for line in lines if line.startswith("#"))
for name in "Mean", "StdDeviation", "Max", "Total count", "Buckets", "SubBuckets":
    assert re.search(rf"{name} *= *[0-9.]+", footer), f"no {name} in {footer}"
assert re.search(rf"Total count *= *{record['count']}\]", footer), footer
HGRM
result hgrm $? "$(tail -n 1 why)"
end "$server_pid"

# A socket file that a killed server left is replaced; the one of a living server is not.
start_loop epoll "unix:$folder/stale"
end "$server_pid"
[ -e stale ] && start_loop epoll "unix:$folder/stale"
result stale_socket_replaced $? "$(tail -n 1 server.err)"
expect live_socket_refused 1 "$folder/stale.*in use" \
    serve --loop epoll --workload echo --listen "unix:$folder/stale"
[ -e stale ]
result live_socket_stays $? "the file of the living server is gone"
end "$server_pid"

# ---- nothing is copied ---------------------------------------------------------------------------

cat >copies.ini <<EXPERIMENT
[experiment]
question = Does any loop copy bytes?
workload = echo
server   = $(IFS=,; echo "${loops[*]}")
measure  = capacity
vary.size_bytes = 1, 100KiB
set.connections = 4
repetitions = 1
EXPERIMENT
run_until 'all(x["requests"] > 0 and x["server"]["syscalls_per_request"] for x in reps)' \
    copies copies.ini --set warmup=10ms \
    --set duration=50ms --no-plots --quiet
record copied_bytes run copies/run.json "len(reps) == ${#loops[@]} * 2" \
    'all(x["server"]["copied_bytes"] == 0 for x in reps)' \
    'all(x["server"]["syscalls_per_request"]["read"] > 0 or x["loop"] == "io_uring"
         for x in reps)'

finish
