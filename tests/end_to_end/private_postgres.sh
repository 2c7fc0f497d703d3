#!/bin/bash
# A private PostgreSQL: there when it says so, with its table, and gone with all it had, however
# loopmark ends.
# shellcheck disable=SC2317 # `finish` in the middle does not make the rest unreachable
# shellcheck source=tests/end_to_end/library.bash
. "$(dirname "$0")/library.bash"

# None of its business.
export PGPORT=1 PGHOST=/nowhere PGDATA=/nowhere PGUSER=nobody

if ! "$LOOPMARK" postgres --help >/dev/null 2>&1; then
    not_ok help "there is no \`loopmark postgres\`"
    finish
fi

# of_server FOLDER: ids of the processes that work in it. PostgreSQL writes its titles over its
# environment, so that processes.py cannot see them all.
of_server() {
    local process at
    for process in /proc/[0-9]*; do
        at=$(readlink "$process/cwd" 2>/dev/null) || continue
        case $at in "$1" | "$1/"* | "$1 "*) echo "${process#/proc/}" ;; esac
    done
}
guardian_of() { of_server "$1" | while read -r id; do
    grep -qsx pg-guardian "/proc/$id/comm" && echo "$id"
done; }
# The System V segment of the server in `place`: its id is in the seventh line.
segment() { sed -n '7s/.* //p' "$place/data/postmaster.pid" 2>/dev/null; }

has_target() { [ -s "$1.out" ] || has_ended "$2"; }

# begin NAME COMMAND…: a server by `COMMAND… loopmark postgres`, a leader of its process group; sets
# `pid`, `target`, `place` and `shared`. Fails when it does not come up.
begin() {
    local name=$1 file=${1//\//_}
    shift
    setsid "$@" "$LOOPMARK" postgres >"$file.out" 2>"$file.err" &
    pid=$!
    children+=("$pid")
    await 60 has_target "$file" "$pid"
    target=$(cat "$file.out")
    place=$(sed -n 's/.*host=\([^&]*\)&.*/\1/p' <<<"$target")
    shared=$(segment)
    [ -d "$place" ] && return 0
    not_ok "$name" "it is not there: $(tail -n 1 "$file.err")"
    end "$pid"
    return 1
}

is_gone() { [ ! -e "$1" ] && [ -z "$(of_server "$1")" ]; }

# gone NAME: within ten seconds nothing is left of `place`, nor of the memory that it had.
gone() {
    await 10 is_gone "$place"
    result "$1/gone" $? "left: $(of_server "$place" | tr '\n' ' ') $(ls -d "$place" 2>&1)"
    [ -z "$shared" ] || ! awk '{ print $2 }' /proc/sysvipc/shm | grep -qx "$shared"
    result "$1/no_shared_memory_left" $? "segment $shared is still there"
}

# ends NAME SIGNAL STATUS COMMAND…: loopmark gets SIGNAL, as its whole process group does by ^C.
ends() {
    local name=$1 signal=$2 expected=$3
    shift 3
    begin "$name" "$@" || return
    kill "-$signal" -- "-$pid"
    await_end "$pid" 10
    [ "$status" = "$expected" ]
    result "$name/status" $? "$status, expected $expected: $(cat "${name//\//_}.err")"
    gone "$name"
}

run_loopmark postgres --max-connections 0
[ "$status" -eq 2 ] && grep -q 'max-connections' err
result bad_option $? "status $status: $(cat err)"
refused unknown_argument "'now'" postgres now

"$LOOPMARK" postgres >first.out 2>first.err &
pid=$!
children+=("$pid")
await 60 has_target first "$pid"
if grep -qE 'not installed|not built' first.err; then
    skip private_postgres "$(cat first.err)"
    finish
fi
kill -INT "$pid"
await_end "$pid" 10
[ "$status" = 0 ]
result at_first $? "status $status: $(cat first.err)"

# ---- what it is ----------------------------------------------------------------------------------

check_table() {
    local said
    if ! command -v psql >/dev/null; then
        skip "$1/table" "psql is not installed"
        return
    fi
    # shellcheck disable=SC2016 # it is SQL
    said=$(psql -X -A -t -F ' ' "$target" -c 'select count(*), min(id), max(id),
        sum(abs(value - id * 7919 % 1000003)), min(length(payload)), max(length(payload)),
        sum((payload not like $$item $$ || id || $$ %$$)::int) from item' 2>&1)
    [ "$said" = "10000 1 10000 0 100 100 0" ]
    result "$1/table" $? "$said"
    said=$(psql -X -A -t "$target" -c 'show listen_addresses' -c 'show fsync' 2>&1 | tr '\n' ' ')
    [ "$said" = " off " ]
    result "$1/settings" $? "listen_addresses, fsync: '$said'"
}

# Also with descriptors that it has not asked for, which the guardian must not keep.
mkfifo kept
exec 17<>kept 18<>kept 19<>kept
if begin server; then
    check_table server
    [ "$(stat -c %a "$place")" = 700 ]
    result server/folder_is_private $? "$(stat -c '%a %U' "$place")"
    owner=$(stat -c %u "$place")
    [ "$owner" -ne 0 ]
    result server/runs_unprivileged $? "its folder belongs to $owner"
    guardian=$(guardian_of "$place")
    kept=$(find "/proc/${guardian:-none}/fd" -lname "*kept*" 2>&1)
    [ -z "$kept" ]
    result server/guardian_keeps_nothing $? "$kept"
    kill -TERM "$guardian" && kill -INT "$guardian" && kill -HUP "$guardian"
    sleep 0.2
    [ -d "$place" ] && ! has_ended "$pid"
    result server/guardian_ignores_signals $? "it ended"
    before=$(head -n 1 "$place/data/postmaster.pid")
    kill -USR1 "$pid"
    await 60 grep -q 'started again' server.err
    result server/restart $? "$(cat server.err)"
    [ "$before" != "$(head -n 1 "$place/data/postmaster.pid")" ]
    result server/restart_is_new $? "it is still process $before"
    check_table server/restart
    shared=$(segment)
    kill -INT "$pid"
    await_end "$pid" 10
    gone server
fi
exec 17<&- 18<&- 19<&-

# ---- how it may end ------------------------------------------------------------------------------

# all_ends NAME COMMAND…
all_ends() {
    local name=$1
    shift
    ends "$name/int" INT 0 "$@"
    ends "$name/term" TERM 0 "$@"
    ends "$name/kill" KILL 137 "$@"
    ends "$name/abort" ABRT 134 "$@"
}
all_ends own_user

# Killed when it has hardly begun.
setsid "$LOOPMARK" postgres >early.out 2>early.err &
pid=$!
children+=("$pid")
appeared() {
    local child=
    read -r child _ 2>/dev/null <"/proc/$pid/task/$pid/children"
    place=$(readlink "/proc/${child:-none}/cwd")
    [ -e "$place/log" ] && shared=$(segment)
}
if await 10 appeared; then
    end "$pid"
    gone early
else
    not_ok early "no folder: $(tail -n 1 early.err)"
    end "$pid"
fi

# The server does not move.
if begin stopped; then
    mapfile -t ids < <(of_server "$place" | grep -vx "$(guardian_of "$place")")
    kill -STOP "${ids[@]}"
    end "$pid"
    gone stopped
fi

# The server has been killed: loopmark says so and ends.
if begin crashed; then
    kill -KILL "$(head -n 1 "$place/data/postmaster.pid")"
    await_end "$pid" 10
    [ "$status" = 1 ] && grep -q 'ended by signal 9' crashed.err
    result crashed/status $? "$status: $(cat crashed.err)"
    gone crashed
fi

# The guardian has been killed: the server ends at once, and loopmark clears up.
if begin unguarded; then
    kill -KILL "$(guardian_of "$place")"
    await_end "$pid" 10
    [ "$status" = 1 ] && grep -q guardian unguarded.err
    result unguarded/status $? "$status: $(cat unguarded.err)"
    await 10 is_gone "$place"
    result unguarded/gone $? "left: $(of_server "$place" | tr '\n' ' ')"
fi

# ---- as somebody else ----------------------------------------------------------------------------

as_nobody=(setpriv --reuid=65534 --regid=65534 --clear-groups)
if [ "$(id -u)" -ne 0 ]; then
    skip ordinary_user "this is one already"
elif ! command -v setpriv >/dev/null; then
    skip ordinary_user "setpriv is not installed"
elif ! "${as_nobody[@]}" test -x "$LOOPMARK"; then
    skip ordinary_user "nobody may not run $LOOPMARK"
else
    if begin ordinary_user "${as_nobody[@]}"; then
        check_table ordinary_user
        end "$pid"
        gone ordinary_user
    fi
    all_ends ordinary_user "${as_nobody[@]}"
fi

finish
