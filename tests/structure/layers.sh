#!/bin/bash
# layers.sh: who may include whom. loops <- workloads <- harness <- tests; nothing the other way.
set -u
cd "${LOOPMARK_SOURCE:-$(dirname "$0")/../..}" || exit 1

failures=0
# check NAME VIOLATIONS: lines of text, none when all is well
check() {
    if [ -z "$2" ]; then
        echo "ok $1"
    else
        echo "$2"
        echo "not ok $1: $(head -n 1 <<<"$2")"
        failures=$((failures + 1))
    fi
}

# Lines `FILE HEADER`, one for each include of our own headers, with paths from the top. A name in
# quotes is looked for beside the file, then from the top; "?" when it is nowhere. One in angle
# brackets is ours only if it is found from the top.
includes() {
    find loops workloads harness tests -name '*.[ch]' -print0 |
        xargs -0 grep -HE '^[[:space:]]*#[[:space:]]*include' |
        sed -nE 's/^([^:]*):[^"<]*(["<])([^">]*)[">].*/\1 \2 \3/p' |
        while read -r file quote header; do
            if [ "$quote" = '"' ] && [ -e "${file%/*}/$header" ]; then
                echo "$file $(realpath --relative-to=. "${file%/*}/$header")"
            elif [ -e "$header" ]; then
                echo "$file $header"
            elif [ "$quote" = '"' ]; then
                echo "$file ?$header"
            fi
        done
}

# only FOLDER ALLOWED: includes from FOLDER that the regular expression ALLOWED does not match
only() { grep "^$1/" <<<"$all" | grep -vE "^[^ ]+ ($2|\?.*)\$"; }

all=$(includes)
check includes_found \
    "$(grep -q '^loops/loop.c loops/loop.h$' <<<"$all" || echo "those of loop.c are not seen")"
check headers_exist "$(grep -F ' ?' <<<"$all")"
check loops_include_loops "$(only loops 'loops/.*')"
check workloads_include_loop_h \
    "$(only workloads \
        'workloads/.*|loops/(loop|check|clock|endpoint|error|threadpool|tls|trace)\.h')"
check raw_servers_stand_alone \
    "$(grep '^workloads/servers/' <<<"$all" | grep -v ' workloads/servers/')"
check harness_includes_no_tests "$(only harness '(harness|workloads|loops)/.*')"
check backend_h_stays_in_loops "$(grep ' loops/backend\.h$' <<<"$all" | grep -v '^loops/')"
check plots_and_results_have_no_c "$(find plots results -name '*.[ch]')"

[ $failures -eq 0 ]
