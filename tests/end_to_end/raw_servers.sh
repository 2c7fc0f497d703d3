#!/bin/bash
# The raw servers: every byte comes back, from one connection and from hundreds, also while peers do
# not read; the same socket options as the loops'; the counts they print beside strace's; how they
# end and what they refuse.
# shellcheck source=tests/end_to_end/library.bash
. "$(dirname "$0")/library.bash"

servers=$(dirname "$LOOPMARK")/servers

cat >client.py <<'CLIENT'
"""client.py half_close ADDR | stalled ADDR COUNT | options ADDR PID | vanish ADDR"""
import ctypes, os, random, socket, struct, sys, threading, time

def connect(text):
    if text.startswith("unix:"):
        sock = socket.socket(socket.AF_UNIX)
        target = text[5:]
    else:
        host, _, port = text.rpartition(":")
        sock = socket.socket(socket.AF_INET6 if host[0] == "[" else socket.AF_INET)
        target = (host.strip("[]"), int(port))
    sock.settimeout(20)
    sock.connect(target)
    return sock

def half_close(sock):
    """The end of sending comes long before the last answer is read."""
    sent, got = random.Random(1).randbytes(3_000_000), bytearray()
    def send():
        sock.sendall(sent[:1])
        sock.sendall(sent[1:])
        sock.shutdown(socket.SHUT_WR)
    threading.Thread(target=send, daemon=True).start()
    while data := sock.recv(1 << 16):
        got += data
    assert got == sent, f"{len(got)} of {len(sent)} bytes came back, or they were changed"

def fill(socks):
    """Sends on all without reading until the server takes no more; returns what it took of each."""
    part, took, quiet = bytes(range(256)) * 256, [0] * len(socks), 0
    for sock in socks:
        sock.setblocking(False)
    while quiet < 10:
        before = sum(took)
        for i, sock in enumerate(socks):
            try:
                at = took[i] % 256
                took[i] += sock.send(part[at:at + 65280])
            except BlockingIOError:
                pass
        quiet = quiet + 1 if sum(took) == before else 0
        if quiet:
            time.sleep(0.01)
    for sock in socks:
        sock.settimeout(20)
    return took

def stalled(address, count):
    """Peers that send and do not read; another one is served all the same, then they read."""
    peers = [connect(address) for _ in range(count)]
    taken = fill(peers)
    half_close(connect(address))
    for sock, took in zip(peers, taken):
        got = 0
        sock.shutdown(socket.SHUT_WR)
        while data := sock.recv(1 << 16):
            want = (bytes(range(256)) * (len(data) // 256 + 2))[got % 256:][:len(data)]
            assert data == want, "the bytes of a stalled peer were changed"
            got += len(data)
        assert got == took, f"{got} of {took} bytes came back to a stalled peer"

def options(sock, pid):
    """Looks at the server's own descriptor, through a copy (pidfd_getfd, number 438 everywhere)."""
    sock.sendall(b"x")
    sock.recv(1)
    libc = ctypes.CDLL(None, use_errno=True)
    process = os.pidfd_open(pid)
    for name in os.listdir(f"/proc/{pid}/fd"):
        fd = libc.syscall(438, process, int(name), 0)
        if fd < 0 and ctypes.get_errno() == 1:
            print("pidfd_getfd:", os.strerror(1))
            sys.exit(77)
        try:
            copy = socket.socket(fileno=fd)
            if copy.getpeername() != sock.getsockname():
                continue
        except OSError:
            continue
        assert copy.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY), "no TCP_NODELAY"
        name = copy.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).rstrip(b"\0")
        assert name == b"reno", f"TCP_CONGESTION is {name}"
        return
    sys.exit("the accepted socket was not found")

def vanish(address):
    """Peers that are gone, by a reset where there is one, while the server has bytes for them."""
    peers = [connect(address) for _ in range(20)]
    fill(peers)
    for sock in peers:
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()
    half_close(connect(address))

what, address = sys.argv[1], sys.argv[2]
if what == "half_close":
    half_close(connect(address))
elif what == "stalled":
    stalled(address, int(sys.argv[3]))
elif what == "options":
    options(connect(address), int(sys.argv[3]))
else:
    vanish(address)
CLIENT

# client NAME ARGUMENTS
client() {
    local name=$1
    shift
    timeout --kill-after=2 100 "$python" client.py "$@" >why 2>&1
    case $? in
    0) ok "$name" ;;
    77) skip "$name" "$(tail -n 1 why)" ;;
    *) not_ok "$name" "$(tail -n 1 why)" ;;
    esac
}

# load NAME CONNECTIONS REQUESTS SIZE: every byte is checked
load() {
    run_loopmark load "$(url "$address")" -c "$2" -n "$3" --set size_bytes="$4" --verify \
        --warmup 20ms --timeout 20s --quiet --json
    if [ "$status" -ne 0 ] && [ "$status" -ne 5 ]; then
        not_ok "$1" "exit status $status: $(last_words)"
    else
        record "$1" load out "r['requests'] == $3" 'sum(r["errors"].values()) == 0'
    fi
}

# counted KIND: the number behind KIND= in its last words
counted() { sed -nE "s/^syscalls .*\b$1=([0-9]+).*/\1/p" raw.err; }

# check_end NAME SIGNAL: with clients connected; its counts are there
check_end() {
    local pattern='^syscalls wait=[1-9][0-9]* read=[0-9]+ send=[0-9]+ control=[0-9]+'
    pattern+=' accept=[0-9]+ requests=[1-9][0-9]*$'
    background idle load "$(url "$address")" -c 3 -d 60s --quiet --json
    await 5 has_worked "$server_pid" 3
    kill "-$2" "$server_pid"
    await_end "$server_pid" 5
    if [ "$status" != 0 ]; then
        not_ok "$1" "exit status $status after SIG$2: $(tail -n 1 raw.err)"
    elif [ "$(wc -l <raw.out)" -ne 1 ] || [ "$(wc -l <raw.err)" -ne 1 ] ||
        ! grep -qE "$pattern" raw.err; then
        not_ok "$1" "not its two lines: $(cat raw.out raw.err)"
    else
        ok "$1"
    fi
    end "$pid"
}

# check_server NAME KIND LISTEN SIGNAL
check_server() {
    local name=$1/$2
    if ! start raw "$servers/raw_$1" --listen "$3"; then
        not_ok "$name" "did not start: $(tail -n 1 raw.err)"
        return
    fi
    case $address in *:0) not_ok "$name/port" "port 0 was not resolved" ;; esac
    load "$name/1" 8 2000 1
    load "$name/1KiB" 8 2000 1KiB
    load "$name/1MiB" 4 40 1MiB
    load "$name/300_connections" 300 3000 1KiB
    load "$name/300_connections_100KiB" 300 600 100KiB
    client "$name/half_close" half_close "$address"
    client "$name/stalled_peers" stalled "$address" 80
    client "$name/vanished_peers" vanish "$address"
    [ "$2" = tcp ] && client "$name/options" options "$address" "$server_pid"
    check_end "$name/SIG$4" "$4"
    if [ "$2" = unix ]; then
        [ ! -e socket ]
        result "$name/file_removed" $? "the socket file stayed behind"
    fi
}

# traced CALLS: how often strace saw these, by names separated by |
traced() { awk -v calls="^($1)\$" '$NF ~ calls { n += $4 } END { print n + 0 }' trace; }

# same NAME KIND CALLS SLACK: what it counted is what strace saw, but for SLACK at start and end
same() {
    local own seen
    own=$(counted "$2")
    seen=$(traced "$3")
    [ $((seen - own)) -ge 0 ] && [ $((seen - own)) -le "$4" ]
    result "$1/$2" $? "it counted $own, and strace $seen"
}

# check_counts NAME: one message at a time on one connection
check_counts() {
    local name=$1/counts number=2000
    # shellcheck disable=SC2016 # strace's shell expands them
    if ! start raw strace -f -c -o trace sh -c 'echo $$ >pid && exec "$0" --listen 127.0.0.1:0' \
        "$servers/raw_$1"; then
        skip "$name" "strace cannot run it: $(tail -n 1 raw.err)"
        return
    fi
    load "$name/load" 1 $number 1KiB
    kill -TERM "$(cat pid)"
    await_end "$server_pid" 10
    # The generator's warm-up asks too.
    [ "$(counted requests)" -ge $number ]
    result "$name/requests" $? "$(tail -n 1 raw.err)"
    case $1 in
    io_uring) same "$name" wait io_uring_enter 0 ;;
    libuv)
        same "$name" wait 'epoll_p?wait2?' 2
        same "$name" read 'recvfrom|read' 10
        same "$name" send 'sendto|sendmsg|write' 10
        ;;
    *)
        same "$name" wait epoll_pwait2 0
        same "$name" read recvfrom 0
        same "$name" send sendto 0
        same "$name" control epoll_ctl 0
        same "$name" accept accept4 0
        ;;
    esac
}

for raw in epoll io_uring libuv; do
    if [ ! -x "$servers/raw_$raw" ]; then
        skip "$raw" "$servers/raw_$raw was not built: its library is missing"
        continue
    fi
    check_server $raw tcp 127.0.0.1:0 TERM
    check_server $raw unix "unix:$folder/socket" INT
    if has_ipv6; then
        start raw "$servers/raw_$raw" --listen '[::1]:0'
        result "$raw/tcp6/start" $? "$(tail -n 1 raw.err)"
        client "$raw/tcp6/half_close" half_close "$address"
        end "$server_pid"
    else
        skip "$raw/tcp6" "no IPv6 on the loopback device"
    fi
    if [ -n "${SAN-}" ]; then
        skip "$raw/counts" "sanitizers do not go with strace"
    elif command -v strace >/dev/null; then
        check_counts $raw
    else
        skip "$raw/counts" "strace is missing"
    fi
done

# ---- what is refused -----------------------------------------------------------------------------

# refuses NAME STATUS WORD ARGUMENTS
refuses() {
    local name=$1 expected=$2 word=$3
    shift 3
    timeout 10 "$servers/raw_epoll" "$@" >out 2>err
    local got=$?
    [ $got -eq "$expected" ] && grep -q "$word" err && [ ! -s out ]
    result "$name" $? "exit status $got, expected $expected: $(last_words)"
}

refuses no_arguments 2 usage
for bad in 127.0.0.1 127.0.0.1:http 127.0.0.1:70000 ::1:7000 unix: ''; do
    refuses "bad_address_$bad" 2 usage --listen "$bad"
done
start raw "$servers/raw_epoll" --listen 127.0.0.1:0
refuses address_in_use 1 'in use' --listen "$address"
end "$server_pid"

finish
