#!/bin/bash
# many.sh: ten thousand connections that all ask are all served, and alike: in five seconds the
# slowest has at least half the answers of the median one. Says what memory a connection takes.
#
# Prints `ok NAME`, `not ok NAME: why` or `skip NAME: why`; exit status 1 if anything was not ok.
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/accuracy/support.bash
loops=(epoll epoll-et libuv io_uring)
needs "${loops[@]}"
if [ "$(ulimit -Hn)" != unlimited ] && [ "$(ulimit -Hn)" -lt 10100 ]; then
    for loop in "${loops[@]}"; do skip "$loop" "only $(ulimit -Hn) descriptors"; done
    finish
fi

for loop in "${loops[@]}"; do
    if ! "$loopmark" list --json | "$python" -c "import json, sys
sys.exit(not any(l['name'] == '$loop' and l['available'] for l in json.load(sys.stdin)['loops']))"
    then
        skip "$loop" "it cannot run here"
        continue
    fi
    start_server "$loopmark" serve --loop "$loop" --workload echo
    before_kib=$(awk '/^VmRSS/ { print $2 }' "/proc/$server_pid/status")
    load "$loop" -c 10000 -d 5s --set source_addresses=4 --pid "$server_pid"
    after_kib=$(awk '/^VmRSS/ { print $2 }' "/proc/$server_pid/status")
    end_server
    echo "# $loop: $(((after_kib - before_kib) * 1024 / 10000)) bytes of the server a connection"
    holds "$loop" '[same("errors", sum(vars(r.errors).values()), 0),
        between("slowest connection over the median one", r.client.slowest_connection_requests /
            r.client.median_connection_requests, 0.5, 1)]' r="$loop.json"
done
finish
