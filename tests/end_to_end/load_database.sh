#!/bin/bash
# `load` of a database itself: PostgreSQL, where its programs are installed, and an SQLite file.
# Closed and open loop, pipelined or not, and what goes wrong: no such database, no such table, rows
# that are not those asked for, connections that the server ends, a server that is killed. No time
# and no rate is judged here.
# shellcheck disable=SC2317 # functions that `await` calls
# shellcheck source=tests/end_to_end/library.bash
. "$(dirname "$0")/library.bash"

unset PGHOST PGPORT PGUSER PGDATABASE PGPASSWORD PGDATA
quick=(--warmup 20ms --timeout 20s --quiet --json)

# no_errors NAME TARGET ARGUMENTS: every answer is the one asked for, whether or not the machine was
# too busy to measure.
no_errors() {
    expect "$1" '0 5' '' load "$2" -c 4 --verify "${quick[@]}" "${@:3}"
    record "$1/record" load out 'r["requests"] > 0' 'sum(r["errors"].values()) == 0' \
        'r["causes"] == []' 'r["status"] is None'
}
# Both loops, one request at a time and eight, and each kind of query.
check_loads() {
    local name=$1 target=$2 flight
    for flight in 1 8; do
        no_errors "$name/closed_$flight" "$target" -d 300ms --pipeline $flight
        no_errors "$name/open_$flight" "$target" -d 300ms --rate 500 --arrivals poisson \
            --pipeline $flight
        record "$name/open_$flight/all_due" load out 'r["achieved_rate"] > 0' \
            'r["unsent"] == 0' 'r["lag_ns"] is not None'
    done
    no_errors "$name/rows" "$target" -d 200ms --set query=rows --set rows=20
    record "$name/rows/bytes" load out \
        'r["client"]["received_bytes"] > 2000 * r["requests"]'
    no_errors "$name/unprepared" "$target" -d 200ms --set prepare=no --pipeline 3
    no_errors "$name/threads" "$target" -d 200ms -t 2
    no_errors "$name/counted" "$target" -n 101
    record "$name/counted/all" load out 'r["requests"] == 101'
    no_errors "$name/new_connections" "$target" -d 300ms --keep-alive 5
    record "$name/new_connections/reconnects" load out 'r["reconnects"] > 0'
}

# ---- usage ---------------------------------------------------------------------------------------

refused no_server 'only for .loopmark load' serve --loop epoll --workload query \
    --listen 127.0.0.1:0
refused password 'PGPASSWORD' load postgresql://me:secret@127.0.0.1/x
refused password_parameter 'PGPASSWORD' load 'postgresql:///x?host=/tmp&password=secret'
refused header 'is of HTTP' load sqlite:x -H 'A: b'
refused transport 'no meaning' load sqlite:x --set transport=unix
refused source 'kind of addresses' load postgresql:///x --source 127.0.0.1
printf '[experiment]\nquestion = What?\nworkload = query\n' >query.ini
refused experiment 'has no server' run query.ini --out never

# ---- SQLite --------------------------------------------------------------------------------------

# make_table FILE SHIFT: as drivers/sample_table.h has it, each row with the id of another
make_table() {
    "$python" - "$@" <<'MAKE'
import sqlite3, sys
text = " the quick brown fox jumps over the lazy dog while the five boxing wizards jump"
with sqlite3.connect(sys.argv[1]) as file:
    file.execute("create table item (id bigint primary key, value bigint, payload text)")
    file.executemany("insert into item values (?, ?, ?)", [
        (i, i * 7919 % 1000003, f"item {i + int(sys.argv[2])}{text}"[:100].ljust(100))
        for i in range(1, 10001)])
MAKE
}

run_loopmark load sqlite:/nowhere -n 1 "${quick[@]}"
if grep -q 'not built' err; then
    skip sqlite "$(last_words)"
else
    make_table sample.db 0
    check_loads sqlite "sqlite:$folder/sample.db"

    # An error a query: counted with its words, never as an answer, and -n comes to its end.
    : >empty.db
    expect sqlite/no_table 5 '' load sqlite:empty.db -c 2 -n 50 "${quick[@]}"
    record sqlite/no_table/counted load out 'not r["valid"]' 'r["requests"] == 0' \
        'r["errors"]["database"] >= 50' \
        'any("no such table" in (c["what"] or "") and c["errno"] == "EIO" for c in r["causes"])'
    make_table shifted.db 1
    expect sqlite/wrong_payload 5 '' load sqlite:shifted.db -c 2 -d 200ms --verify "${quick[@]}"
    record sqlite/wrong_payload/counted load out 'r["errors"]["wrong_answer"] > 0' \
        'any(c["what"] == "not the payload of this id" for c in r["causes"])'
    expect sqlite/no_file 1 'no such file' load sqlite:/nowhere -c 2 -d 5s "${quick[@]}"
fi

# ---- PostgreSQL ----------------------------------------------------------------------------------

has_target() { [ -s postgres.out ] || has_ended "$pid"; }
background postgres postgres --max-connections 50
await 60 has_target
target=$(cat postgres.out)
if [ -z "$target" ]; then
    skip postgres "$(tail -n 1 postgres.err)"
    finish
fi
postgres_pid=$pid
place=$(sed -n 's/.*host=\([^&]*\)&.*/\1/p' <<<"$target")

# other_database NAME: the target with another name of the database
other_database() { echo "${target/postgres\?/$1?}"; }

check_loads postgres "$target"
expect postgres/no_database 1 'database "nope" does not exist' load "$(other_database nope)" \
    -c 2 -d 5s "${quick[@]}"
# It has no table.
expect postgres/no_table 5 '' load "$(other_database template1)" -c 2 -n 50 --pipeline 8 \
    "${quick[@]}"
record postgres/no_table/counted load out 'not r["valid"]' 'r["requests"] == 0' \
    'r["errors"]["database"] >= 50' \
    'any("relation" in (c["what"] or "") and "42P01" in c["what"] for c in r["causes"])'

if ! command -v psql >/dev/null; then
    skip postgres/ended "psql is missing"
    kill -TERM "$postgres_pid"
    await_end "$postgres_pid" 20
    finish
fi
# of_load EXPRESSION: of the connections that the load has, in SQL
of_load() {
    psql -XAtqc "select $1 from pg_stat_activity where application_name = 'loopmark'" "$target"
}
end_backends() { [ "$(of_load 'count(pg_terminate_backend(pid))')" -gt 0 ]; }
is_asking() { [ "$(of_load 'count(*)')" -ge 4 ]; }

background ended load "$target" -c 4 -d 8s --rate 100 --warmup 0s --quiet --json
await 10 end_backends
result postgres/ended $? "there was no connection to end"
await_end "$pid" 20
case $status in
0 | 5) ok postgres/ended_goes_on ;;
*) not_ok postgres/ended_goes_on "status $status: $(cat ended.err)" ;;
esac
record postgres/ended/counted load ended.out 'r["errors"]["reset"] >= 1' 'r["requests"] > 0' \
    'any("terminating conn" in str(c["what"]) or "server closed" in str(c["what"])
    for c in r["causes"])'

# The server is killed: the load ends by itself, long before its time.
background killed load "$target" -c 4 -d 60s --pipeline 8 --quiet --json
await 10 is_asking
kill -QUIT "$(head -n 1 "$place/data/postmaster.pid")"
await_end "$pid" 20
[ "$status" = 1 ] && grep -q 'is gone' killed.err
result postgres/killed $? "status $status: $(cat killed.err)"
await_end "$postgres_pid" 20

finish
