#!/bin/bash
# `audit`: the system calls of a request, by our own counters, are those of the loop's way of
# working, and strace sees the same and no others. Counts only: no time is judged here.
# shellcheck source=tests/end_to_end/library.bash
. "$(dirname "$0")/library.bash"
requests=5000
connections=4 # under strace; few, as what each costs at its start counts as for a request

# ---- our counters --------------------------------------------------------------------------------

# A server that does not answer in time has no counts.
all_counted() { ! grep -q '"total": null' out; }
for _ in 1 2 3 4 5; do
    run_loopmark audit -n "$requests" -c 20 --json --quiet
    all_counted && break
done
result audit "$status" "exit status $status: $(last_words)"
cp out audit.json
"$python" - <<'AUDIT' >why 2>&1
import json
audit = json.load(open("audit.json"))
servers = {s["name"]: s for s in audit["servers"]}
bad = [f"{name}: {s['total']} calls, expected {s['expected']}" for name, s in servers.items()
       if s["expected"] is None or not abs(s["total"] - s["expected"]) < 0.02]
assert not bad, bad
assert {"select", "poll", "epoll", "epoll-et"} <= servers.keys(), servers.keys()
assert "null" not in servers
for name, s in servers.items():
    assert not s["copies_bytes"], name
    if name.endswith("io_uring"):  # alone, an answer ends a wait as a question does
        assert s["total"] <= 2.05, (name, s)
    elif "spin" not in name:
        assert 2 < s["total"] <= 3.05, (name, s)
AUDIT
result calls_are_as_expected $? "$(tail -n 1 why)"
for _ in 1 2 3 4 5; do
    run_loopmark audit epoll -n 2000 --unix --quiet
    grep -q '^epoll .* 1.000 .* 1.000' out && break
done
grep -q '^epoll .* 1.000 .* 1.000' out
result table $? "$(cat out)"
refused unknown_loop "no loop is called 'nothere'" audit nothere
refused null_has_none 'moves no bytes' audit null
refused requests_garbage 'requests' audit -n lots

# ---- what strace sees ----------------------------------------------------------------------------

# traced NAME COMMAND…: the server under strace, with all its calls in NAME.calls
# shellcheck disable=SC2317
trace_is_written() { [ -s "$1.calls" ] && has_ended "$server_pid"; }
traced() {
    local name=$1
    shift
    start "$name" strace -f -c -U name,calls -o "$name.calls" "$@" --listen 127.0.0.1:0 || return 1
    run_loopmark load "$(url "$address")" -c $connections -n "$requests" --warmup 0 --quiet --json
    cp out "$name.json"
    # strace hands the signal on to nobody: the server is its child.
    kill -TERM "$(cat "/proc/$server_pid/task/$server_pid/children")"
    await 10 trace_is_written "$name"
}

# compare NAME: reads and sends are the audit's; what else is done for each request is a wait, or
# what the loop's library is known for.
compare() {
    "$python" - "$1" <<'COMPARE' 2>&1
import json, sys
name = sys.argv[1]
audit = {s["name"]: s for s in json.load(open("audit.json"))["servers"]}[name]
requests = json.load(open(f"{name}.json"))["requests"]
kinds = {"read": ("read", "recvfrom", "recvmsg", "readv"),
         "send": ("write", "sendto", "sendmsg", "writev"),
         "wait": ("epoll_wait", "epoll_pwait", "epoll_pwait2", "ppoll", "poll", "pselect6",
                  "select", "io_uring_enter"),
         "control": ("epoll_ctl",)}
seen = {kind: 0 for kind in (*kinds, "other")}
for line in open(f"{name}.calls"):
    words = line.split()
    if len(words) == 2 and words[1].isdigit() and words[0] != "total":
        kind = next((k for k, names in kinds.items() if words[0] in names), "other")
        seen[kind] += int(words[1]) / requests
assert requests >= 5000, requests
for kind in "read", "send":
    expected = audit["calls"][kind]
    assert abs(seen[kind] - expected) < 0.05, f"{kind}: strace {seen}, counted {expected}"
control = 1 if name == "libuv-write" else 0
assert abs(seen["control"] - control) < 0.05, f"control: {seen}"
assert seen["other"] < 0.1, f"something else for each request: {seen}"
assert 0 < seen["wait"] < 1.1 or "spin" in name, f"waits: {seen}"
COMPARE
}

if ! command -v strace >/dev/null; then
    skip strace "strace is missing"
elif ! strace -o /dev/null true 2>/dev/null; then
    skip strace "tracing is not allowed here"
elif [ -n "${SAN-}" ]; then
    skip strace "sanitizers make system calls of their own"
else
    names=$("$python" -c 'import json
print(*(s["name"] for s in json.load(open("audit.json"))["servers"]))')
    for name in $names; do
        case $name in
        raw-*) command=("$LOOPMARK_SOURCE/build/servers/${name/raw-/raw_}") ;;
        *) command=("$LOOPMARK" serve --loop "$name" --workload echo) ;;
        esac
        if traced "$name" "${command[@]}"; then
            why=$(compare "$name")
            result "strace/$name" $? "$(tail -n 1 <<<"$why")"
        else
            not_ok "strace/$name" "$(tail -n 1 "$name.err")"
        fi
    done
fi

finish
