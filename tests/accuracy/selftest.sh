#!/bin/bash
# selftest.sh: `loopmark selftest` finds that a quiet machine measures what is known beforehand.
#
# Prints `ok NAME`, `not ok NAME: why` or `skip NAME: why`; exit status 1 if anything was not ok.
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/accuracy/support.bash
needs resolves

for _ in 1 2 3; do # a machine that did something else meanwhile is not to blame
    "$loopmark" selftest --quiet >"$folder/selftest.out" 2>"$folder/selftest.err"
    status=$?
    sed 's/^/# /' "$folder/selftest.out"
    [ "$status" -eq 5 ] || break
done
if [ "$status" -eq 0 ]; then
    ok resolves
else
    not_ok resolves "exit status $status: $(tail -n 1 "$folder/selftest.err")"
fi
finish
