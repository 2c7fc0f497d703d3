#!/bin/bash
# The Python echo servers: what comes back, on every loop, API and kind of address; the socket
# options that make the comparison fair; how they end and what they refuse.
# Prints `ok NAME`, `not ok NAME: why` or `skip NAME: why`; exit status 1 if anything was not ok.
set -u
cd "$(dirname "$0")/../.." || exit 1

python=/usr/bin/python3
server=workloads/servers/echo_asyncio.py
folder=$(mktemp -d) || exit 1
server_pid=
failures=0

end_server() {
    if [ -n "$server_pid" ]; then
        kill -KILL "$server_pid" 2>/dev/null
        wait "$server_pid" 2>/dev/null
        server_pid=
    fi
}
trap 'end_server; rm -rf "$folder"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

ok() { echo "ok $1"; }
skip() { echo "skip $1: $2"; }
not_ok() {
    echo "not ok $1: $2"
    failures=$((failures + 1))
}
# result NAME STATUS WHY
result() { if [ "$2" -eq 0 ]; then ok "$1"; else not_ok "$1" "$3"; fi; }

cat >"$folder/client.py" <<'CLIENT'
"""client.py echo ADDR BYTES | congestion ADDR | nodelay ADDR PID | idle ADDR"""
import ctypes, os, random, socket, subprocess, sys, threading, time

def connect(text):
    if text.startswith("unix:"):
        sock = socket.socket(socket.AF_UNIX)
        target = text[5:]
    else:
        host, _, port = text.rpartition(":")
        sock = socket.socket(socket.AF_INET6 if host[0] == "[" else socket.AF_INET)
        target = (host.strip("[]"), int(port))
    sock.settimeout(10)
    sock.connect(target)
    return sock

def echo(sock, size):
    """Sent from a thread: the server need not take it all before it answers."""
    sent, got = random.Random(size).randbytes(size), bytearray()
    sender = threading.Thread(target=sock.sendall, args=(sent,), daemon=True)
    sender.start()
    while len(got) < size:
        data = sock.recv(1 << 16)
        if not data:
            sys.exit(f"the connection ended after {len(got)} of {size} bytes")
        got += data
    sender.join(10)
    if got != sent:
        sys.exit(f"{size} bytes came back changed")

def congestion(sock):
    port = sock.getpeername()[1]
    text = subprocess.run(["ss", "-tinH", "state", "established", f"sport = :{port}"],
                          capture_output=True, text=True, timeout=10).stdout
    if " reno " not in text:
        sys.exit(f"ss does not say reno: {text!r}")

def nodelay(sock, pid):
    """Looks at the server's own descriptor, through a copy (pidfd_getfd, number 438 everywhere)."""
    libc = ctypes.CDLL(None, use_errno=True)
    process = os.pidfd_open(pid)
    for name in os.listdir(f"/proc/{pid}/fd"):
        fd = libc.syscall(438, process, int(name), 0)
        if fd < 0:
            print("pidfd_getfd:", os.strerror(ctypes.get_errno()))
            sys.exit(77)
        try:
            copy = socket.socket(fileno=fd)
            if copy.getpeername() == sock.getsockname():
                if not copy.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY):
                    sys.exit("the accepted socket has no TCP_NODELAY")
                return
        except OSError:
            pass
    sys.exit("the accepted socket was not found")

what, address = sys.argv[1], sys.argv[2]
connection = connect(address)
if what == "echo":
    echo(connection, int(sys.argv[3]))
    connection.shutdown(socket.SHUT_WR)
    if connection.recv(1):
        sys.exit("more came back than was sent")
else:
    echo(connection, 1)  # the server has accepted it and set its options
    if what == "congestion":
        congestion(connection)
    elif what == "nodelay":
        nodelay(connection, int(sys.argv[3]))
    else:
        print("connected", flush=True)
        try:
            connection.recv(1)
        except ConnectionError:
            pass  # a reset is an end too
CLIENT

# start LOOP API LISTEN: sets server_pid and address
start() {
    "$python" "$server" --loop "$1" --api "$2" --listen "$3" >"$folder/out" 2>"$folder/err" &
    server_pid=$!
    address=
    for _ in $(seq 200); do
        address=$(sed -n 's/^listening on //p' "$folder/out")
        [ -n "$address" ] && return 0
        kill -0 "$server_pid" 2>/dev/null || break
        sleep 0.05
    done
    end_server
    return 1
}

# Waits at most 5 s for the server; its status in `status`, or "running".
await_end() {
    status=running
    for _ in $(seq 100); do
        # A zombie of ours has ended too: only `wait` removes it.
        if ! grep -qs '^State:[[:space:]]*[^Z[:space:]]' "/proc/$server_pid/status"; then
            wait "$server_pid"
            status=$?
            server_pid=
            return
        fi
        sleep 0.05
    done
    end_server
}

# The signal comes while a client is connected, as when a run is interrupted.
check_end() {
    local name=$1 signal=$2
    "$python" "$folder/client.py" idle "$address" >"$folder/idle" 2>&1 &
    local client_pid=$!
    for _ in $(seq 100); do
        [ -s "$folder/idle" ] && break
        sleep 0.05
    done
    kill "-$signal" "$server_pid"
    await_end
    wait "$client_pid" # ends by itself: its connection does
    if [ "$status" != 0 ]; then
        not_ok "$name" "exit status $status after SIG$signal"
    elif [ -s "$folder/err" ]; then
        not_ok "$name" "it complained: $(tail -n 1 "$folder/err")"
    elif [ "$(wc -l <"$folder/out")" -ne 1 ]; then
        not_ok "$name" "more than one line on stdout"
    else
        ok "$name"
    fi
}

check_options() {
    local name=$1 why
    if command -v ss >/dev/null; then
        why=$("$python" "$folder/client.py" congestion "$address" 2>&1)
        result "$name/congestion" $? "$why"
    else
        skip "$name/congestion" "ss (package iproute2) is missing"
    fi
    why=$("$python" "$folder/client.py" nodelay "$address" "$server_pid" 2>&1)
    case $? in
    0) ok "$name/nodelay" ;;
    77) skip "$name/nodelay" "$why" ;;
    *) not_ok "$name/nodelay" "$why" ;;
    esac
}

# check_variant LOOP API KIND LISTEN SIGNAL
check_variant() {
    local name="$1/$2/$3" why
    if ! start "$1" "$2" "$4"; then
        not_ok "$name" "did not start: $(tail -n 1 "$folder/err")"
        return
    fi
    case $address in
    *:0) not_ok "$name/port" "port 0 was not resolved" ;;
    esac
    for bytes in 1 1024 1048576; do
        why=$("$python" "$folder/client.py" echo "$address" "$bytes" 2>&1)
        result "$name/echo_$bytes" $? "$why"
    done
    [ "$3" = tcp ] && check_options "$name"
    check_end "$name/SIG$5" "$5"
    if [ "$3" = unix ]; then
        [ ! -e "$folder/socket" ]
        result "$name/file_removed" $? "the socket file stayed behind"
    fi
}

# refused NAME STATUS WORD ARGUMENTS: exits with STATUS, and WORD is in its message
refused() {
    local name=$1 expected=$2 word=$3
    shift 3
    timeout 10 "$python" "$server" "$@" >"$folder/out" 2>"$folder/err"
    local got=$?
    if [ $got -ne "$expected" ]; then
        not_ok "$name" "exit status $got, expected $expected"
    elif ! grep -q -e "$word" "$folder/err" || grep -q Traceback "$folder/err" ||
        [ -s "$folder/out" ]; then
        not_ok "$name" "unexpected message: $(tail -n 1 "$folder/err")"
    else
        ok "$name"
    fi
}

if [ ! -x "$python" ]; then
    skip python_servers "python3 is missing"
    exit 0
elif [ -n "${SAN-}" ]; then
    skip python_servers "nothing of what was built takes part in it"
    exit 0
fi
for loop in asyncio uvloop; do
    if ! "$python" -c "import $loop" 2>/dev/null; then
        skip "$loop" "python3-$loop is missing"
        continue
    fi
    for api in protocol streams; do
        check_variant $loop $api tcp 127.0.0.1:0 TERM
        check_variant $loop $api unix "unix:$folder/socket" INT
        if [ -e /proc/net/if_inet6 ] && grep -qw lo /proc/net/if_inet6; then
            check_variant $loop $api tcp6 "[::1]:0" TERM
        else
            skip "$loop/$api/tcp6" "no IPv6 on the loopback device"
        fi
    done
done

refused unknown_loop 2 --loop --loop twisted --listen 127.0.0.1:0
refused unknown_api 2 --api --loop asyncio --api callbacks --listen 127.0.0.1:0
for address in 127.0.0.1 127.0.0.1:http 127.0.0.1:70000 ::1:7000 unix:; do
    refused "bad_address_$address" 2 --listen --loop asyncio --listen "$address"
done
mkdir "$folder/without"
echo "raise ImportError('No module named uvloop')" >"$folder/without/uvloop.py"
PYTHONPATH=$folder/without refused uvloop_missing 2 python3-uvloop \
    --loop uvloop --listen 127.0.0.1:0

if start asyncio protocol "unix:$folder/socket"; then
    refused address_in_use 1 "cannot listen" --loop asyncio --listen "unix:$folder/socket"
    end_server # killed: its socket file stays behind
    start asyncio protocol "unix:$folder/socket"
    result stale_socket_replaced $? "$(tail -n 1 "$folder/err")"
    end_server
else
    not_ok address_in_use "did not start: $(tail -n 1 "$folder/err")"
fi

[ $failures -eq 0 ]
