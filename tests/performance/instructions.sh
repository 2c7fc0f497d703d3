#!/bin/bash
# instructions.sh [--write]: counts the instructions that an echo costs outside of the kernel, and
# compares them with instructions.txt: 5 % more or fewer fail. They are the same on every run and on
# a busy machine, when times are not; but they belong to one compiler and its flags, so with others
# this is skipped.
#
# null_echo runs under callgrind for two numbers of requests. The difference of the counts, divided
# by the difference of the requests, is free of start and end. --write makes it the baseline.
set -u
source=$(cd "$(dirname "$0")/../.." && pwd) || exit 1
build=${LOOPMARK_BUILD:-$source/build}
baseline=$source/tests/performance/instructions.txt
few=20000
many=120000
most_percent=5

skip() { echo "skip instructions: $1" && exit 0; }
fail() { echo "not ok instructions: $1" && exit 1; }

[ -z "${SAN-}" ] || skip "sanitizers add their own"
command -v valgrind >/dev/null || skip "valgrind is missing"

folder=$(mktemp -d) || exit 1
trap 'rm -rf "$folder"' EXIT

# count REQUESTS: all instructions of one run
count() {
    valgrind --tool=callgrind --callgrind-out-file="$folder/out" \
        "$build/tests/performance/null_echo" "$1" >"$folder/log" 2>&1 || return 1
    sed -n 's/^\(summary\|totals\): *\([0-9]*\).*/\2/p' "$folder/out" | head -n 1
}

# What the number belongs to. The flags are those of the build, without its places and warnings.
compiler=$(head -n 1 "$build/compiler")
flags=$(grep -oE -- '(^| )-(O|std|g|m|f)[^ ]*' "$build/flags" | tr -d '\n')
flags=${flags# }
machine=$(uname -m)

if ! a=$(count "$few") || ! b=$(count "$many") || [ -z "$a" ] || [ -z "$b" ]; then
    fail "$(tail -n 1 "$folder/log")"
fi
now=$(awk -v a="$a" -v b="$b" -v n=$((many - few)) 'BEGIN { printf "%.1f", (b - a) / n }')
echo "$now instructions per request"

if [ "${1-}" = --write ]; then
    printf '%s\n' "compiler: $compiler" "machine: $machine" "flags: $flags" \
        "instructions: $now" >"$baseline"
    exit
fi

value() { sed -n "s/^$1: *//p" "$baseline"; }
for what in compiler machine flags; do
    [ "$(value $what)" = "${!what}" ] || skip "the baseline has another $what, $(value $what)"
done
before=$(value instructions)
if awk -v now="$now" -v before="$before" -v most=$most_percent \
    'BEGIN { change = 100 * (now / before - 1); exit !(change >= -most && change <= most) }'; then
    echo "ok instructions"
else
    fail "$now a request, and $before in instructions.txt (after a wanted change: --write)"
fi
