#!/bin/bash
# The HTTP server and clients that others have written: curl, wrk, h2load and nc, on every loop. No
# time and no rate is judged here.
# shellcheck source=tests/end_to_end/library.bash
. "$(dirname "$0")/library.bash"

has() { command -v "$1" >/dev/null; }

# serve LOOP LISTEN [KNOB=VALUE…]
serve() {
    local loop=$1 listen=$2 settings=()
    shift 2
    for setting in "$@"; do settings+=(--set "$setting"); done
    start server "$LOOPMARK" serve --loop "$loop" --workload http --listen "$listen" \
        "${settings[@]}"
}

# fetch ARGUMENTS: curl's exit status in `status`, the body in body, the heads in heads
fetch() {
    curl --silent --show-error --max-time 60 --dump-header heads --output body "$@" 2>why
    status=$?
}
# said NAME: the test of what was fetched, as the rest of the line before
said() { result "$1" "$2" "curl said $status: $(cat why) $(head -n 1 heads)"; }
size_is() { [ "$status" -eq 0 ] && [ "$(wc -c <body)" -eq "$1" ]; }
status_is() { [ "$status" -eq 0 ] && tail -n 20 heads | grep -q "^HTTP/1.1 $1 "; }

check_curl() {
    local url=http://$address
    fetch "$url/"
    size_is 2000
    said "$1/curl/get" $?
    fetch --head "$url/bytes/268435456"
    status_is 200 && grep -qi '^content-length: 268435456' heads
    said "$1/curl/head" $?
    fetch "$url/bytes/20000000"
    size_is 20000000
    said "$1/curl/large" $?
    fetch --data-binary @upload "$url/count"
    [ "$(cat body)" = 3000000 ]
    said "$1/curl/post" $?
    fetch --upload-file - --header 'Expect: 100-continue' "$url/count" <upload
    [ "$(cat body)" = 3000000 ] && grep -q '^HTTP/1.1 100 ' heads
    said "$1/curl/chunked_expecting" $?
    fetch --http1.0 "$url/bytes/5000"
    size_is 5000
    said "$1/curl/http_1_0" $?
    fetch --http2 "$url/bytes/5000" # an offer to upgrade, which is passed over
    size_is 5000
    said "$1/curl/upgrade_offered" $?
    fetch --request DELETE "$url/"
    status_is 405 && grep -qi '^allow: GET, HEAD, POST, PUT' heads
    said "$1/curl/405" $?
    fetch --header "Long: $(head -c 20000 /dev/zero | tr '\0' x)" "$url/"
    status_is 431
    said "$1/curl/431" $?
    fetch --write-out '%{num_connects}\n' "$url/" --output body --next --silent --output body \
        --write-out '%{num_connects}\n' "$url/bytes/5" >connects
    [ "$(tr '\n' ' ' <connects)" = "1 0 " ]
    said "$1/curl/keep_alive" $?
}

# Bytes of our own, through nc. The last request has a bare line feed.
check_nc() {
    local host='HTTP/1.1\r\nHost: a\r\n'
    # shellcheck disable=SC2059 # it is a format
    printf "GET /bytes/7 $host\r\nGET /x $host\r\nGET / $host\n" |
        timeout 20 nc -N "${address%:*}" "${address##*:}" >answers
    [ "$(grep -aoE 'HTTP/1\.1 [0-9]+' answers | tr '\n' /)" = \
        'HTTP/1.1 200/HTTP/1.1 404/HTTP/1.1 400/' ]
    result "$1/nc/pipelined" $? "$(cat answers)"
}

check_wrk() {
    timeout 30 wrk -t 1 -c 20 -d 1s -s pipeline.lua "http://$address/" >out 2>&1
    grep -qE '^ *[1-9][0-9]* requests in' out && ! grep -qE 'Non-2xx|Socket errors' out
    result "$1/wrk" $? "$(cat out)"
}

check_h2load() {
    timeout 60 h2load --h1 -n 2000 -c 10 -m 16 "http://$address/bytes/3000" >out 2>&1
    grep -q '2000 done, 2000 succeeded, 0 failed, 0 errored, 0 timeout' out
    result "$1/h2load" $? "$(cat out)"
}

# Told to end while an answer is on its way that no socket buffer holds: it comes whole, if the
# client gets to read it within the second that the server gives it. The server has ended then.
end_under_way() {
    "$python" - "$address" "$server_pid" >why 2>&1 <<'CLIENT'
import os, signal, socket, sys
size = 20000000
host, port = sys.argv[1].rsplit(":", 1)
sock = socket.create_connection((host, int(port)), timeout=20)
sock.sendall(b"GET /bytes/%d HTTP/1.1\r\nHost: a\r\n\r\n" % size)
got = len(sock.recv(1))
os.kill(int(sys.argv[2]), signal.SIGTERM)
while data := sock.recv(1 << 16):
    got += len(data)
sys.exit(None if got > size else f"{got} bytes came")
CLIENT
    local whole=$?
    await_end "$server_pid" 5
    return $whole
}
check_end() {
    local whole=1
    for _ in 1 2 3; do
        end_under_way && whole=0 && break
        serve "$1" 127.0.0.1:0 size_bytes=2000 || break
    done
    result "$1/end/answer_under_way" $whole "$(cat why)"
    [ "$status" = 0 ] && [ ! -s server.err ]
    result "$1/end" $? "status $status: $(cat server.err)"
}

# ---- every loop ----------------------------------------------------------------------------------

if ! serve epoll 127.0.0.1:0; then
    if grep -q 'not built: llhttp' server.err; then
        skip http_server "$(cat server.err)"
    else
        not_ok http_server "it does not start: $(cat server.err)"
    fi
    finish
fi
end "$server_pid"

head -c 3000000 /dev/urandom >upload
cat >pipeline.lua <<'SCRIPT'
function init()
    local requests = {}
    for i = 1, 16 do requests[i] = wrk.format() end
    all = table.concat(requests)
end
function request() return all end
SCRIPT
clients=()
for client in curl nc wrk h2load; do
    if has $client; then clients+=("$client"); else skip $client "$client is missing"; fi
done
mapfile -t loops < <(available_loops)
for loop in "${loops[@]}"; do
    if serve "$loop" 127.0.0.1:0 size_bytes=2000; then
        for client in "${clients[@]}"; do
            case $client in
            curl) check_curl "$loop" ;;
            nc) check_nc "$loop" ;;
            wrk) check_wrk "$loop" ;;
            h2load) check_h2load "$loop" ;;
            esac
        done
        check_end "$loop"
    else
        not_ok "$loop" "did not start: $(tail -n 1 server.err)"
    fi
done

# ---- unix sockets --------------------------------------------------------------------------------

if has curl; then
    serve epoll "unix:$folder/socket" || not_ok unix/start "$(cat server.err)"
    fetch --unix-socket socket http://localhost/bytes/100000
    size_is 100000
    said unix/curl $?
    end "$server_pid"
fi

# ---- many connections that do nothing, and one that takes nothing --------------------------------

# resident PID: in KiB
resident() { sed -n 's/^VmRSS:[[:space:]]*\([0-9]*\) kB/\1/p' "/proc/$1/status"; }

# Opens CONNECTIONS, asks once on each, and says how many answers were right. It stays until its
# input ends.
cat >crowd.py <<'CROWD'
import resource, socket, sys
host, port, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
crowd = [socket.create_connection((host, port), timeout=30) for _ in range(count)]
for sock in crowd:
    sock.sendall(b"GET /bytes/10 HTTP/1.1\r\nHost: a\r\n\r\n")
right = sum(sock.recv(4096).startswith(b"HTTP/1.1 200 OK\r\n") for sock in crowd)
print(f"{right} answered", flush=True)
sys.stdin.read()
CROWD

# crowded LOOP COUNT: no connection is refused, and each costs the server little memory.
crowded() {
    local before after most=4 # KiB: state, parser and stream
    serve "$1" 127.0.0.1:0 || not_ok "$1/crowd" "$(cat server.err)"
    before=$(resident "$server_pid")
    rm -f gate && mkfifo gate
    "$python" crowd.py "${address%:*}" "${address##*:}" "$2" <gate >crowd.out 2>crowd.err &
    children+=("$!")
    exec 9>gate
    await 60 grep -q answered crowd.out
    [ "$(cat crowd.out)" = "$2 answered" ]
    result "$1/crowd/answered" $? "$(cat crowd.out crowd.err server.err)"
    after=$(resident "$server_pid")
    if [ -n "${SAN-}" ]; then
        skip "$1/crowd/memory" "a sanitizer needs memory of its own"
    else
        [ $(((after - before) / most)) -le "$2" ]
        result "$1/crowd/memory" $? "from $before KiB to $after KiB for $2 connections"
    fi
    exec 9>&-
    end "$server_pid"
}

descriptors=$(ulimit -Hn)
[ "$descriptors" = unlimited ] && descriptors=1000000
crowd=10000
[ "$descriptors" -gt 10500 ] || crowd=$((descriptors - 500))
for loop in "${loops[@]}"; do
    case $loop in epoll | libuv | io_uring) crowded "$loop" "$crowd" ;; esac
done

# A peer that takes one byte and no more, of 256 MiB.
if has curl; then
    serve epoll 127.0.0.1:0 || not_ok slow/start "$(cat server.err)"
    fetch "http://$address/"
    before=$(resident "$server_pid")
    curl --silent --limit-rate 1 --max-time 60 --output slow \
        "http://$address/bytes/268435456" 2>/dev/null &
    slow_pid=$!
    children+=("$slow_pid")
    await 10 test -s slow
    fetch "http://$address/bytes/268435456"
    size_is 268435456
    said slow/others_are_served $?
    after=$(resident "$server_pid")
    if [ -n "${SAN-}" ]; then
        skip slow/memory "a sanitizer needs memory of its own"
    else
        [ $((after - before)) -lt 1024 ]
        result slow/memory $? "from $before KiB to $after KiB"
    fi
    end "$slow_pid"
    end "$server_pid"
fi

finish
