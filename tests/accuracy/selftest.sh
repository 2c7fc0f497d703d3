#!/bin/bash
# selftest.sh: `loopmark selftest` finds the instrument within 1 % and 50 us of the truth, on every
# server of known times.
#
# A machine that does something else meanwhile is measured again, three times in all; an instrument
# that is off is not.
#
# Prints `ok NAME`, `not ok NAME: why` or `skip NAME: why`; exit status 1 if anything was not ok.
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/accuracy/support.bash
needs resolves

for _ in 1 2 3; do
    "$loopmark" selftest >"$folder/selftest.out" 2>"$folder/selftest.err"
    status=$?
    sed 's/^/# /' "$folder/selftest.out"
    grep -q '^NOT VALID: the machine' "$folder/selftest.out" || break
done
if [ "$status" -eq 0 ]; then
    ok resolves
elif [ "$status" -eq 5 ]; then
    not_ok resolves "$(grep '^NOT VALID' "$folder/selftest.out")"
else
    not_ok resolves "exit status $status: $(tail -n 1 "$folder/selftest.err")"
fi
finish
