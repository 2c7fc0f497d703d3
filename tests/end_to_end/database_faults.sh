#!/bin/bash
# The workload `database` in front of a PostgreSQL that fails, on every loop, under load: nothing is
# lost, no answer is somebody else's, and the pool is whole again afterwards (database_faults.py).
# How long that took is told; on a machine that does nothing else, WHOLE_MOST_S=1 judges it. All
# faults on other loops than epoll: FAULT_LOOPS='select libuv'.
# shellcheck disable=SC2317 # functions that `await` calls
# shellcheck source=tests/end_to_end/library.bash
. "$(dirname "$0")/library.bash"

unset PGHOST PGPORT PGUSER PGDATABASE PGPASSWORD PGDATA LOOPMARK_DATABASE

for program in psql pg_isready; do
    if ! command -v "$program" >/dev/null; then
        skip faults "$program is missing"
        finish
    fi
done
has_target() { [ -s postgres.out ] || has_ended "$pid"; }
background postgres postgres --max-connections 30
await 60 has_target
target=$(cat postgres.out)
if [ -z "$target" ]; then
    skip faults "$(tail -n 1 postgres.err)"
    finish
fi
owner=$pid
place=$(sed -n 's/.*host=\([^&]*\)&.*/\1/p' <<<"$target")

all=(terminated restarted stopped too_many batch long_rows gone wrong_password no_database)
some=(terminated gone)
available=$(available_loops)
# What takes seconds is the pool's and the driver's business more than the loop's; long rows are
# sent in parts by readiness as on epoll, and by completion. With sanitizers it is both kinds.
loops=(epoll select poll epoll-et libuv io_uring)
[ -z "${SAN-}" ] || loops=(epoll io_uring)
# shellcheck disable=SC2206 # a list
loops=(${FAULT_LOOPS:-${loops[@]}})
for loop in "${loops[@]}"; do
    grep -qx -e "$loop" <<<"$available" || continue
    faults=("${all[@]}")
    [ "$loop" = epoll ] || [ -n "${FAULT_LOOPS-}" ] || faults=("${some[@]}")
    [ "$loop" = io_uring ] && [ -z "${FAULT_LOOPS-}" ] && faults+=(long_rows)
    "$python" "$here/database_faults.py" "$loop" "$target" "$owner" "$place" "${faults[@]}" ||
        failures=$((failures + 1))
done
kill -TERM "$owner"
await_end "$owner" 20
finish
