#!/bin/bash
# histogram_js.sh: HdrHistogram for JavaScript and loopmark read each other's files and mean the
# same: counts and percentiles to the last digit.
# shellcheck source=tests/interop/support.bash
. "$(dirname "$0")/support.bash"
modules=$LOOPMARK_SOURCE/build/interop/node_modules

if ! command -v node >/dev/null; then
    skip histogram_js "node is missing: make interop"
    exit 0
elif [ ! -e "$modules/hdr-histogram-js" ]; then
    skip histogram_js "hdr-histogram-js is missing: make interop"
    exit 0
fi

# js NAME OUT ARGUMENTS: check.js; when it fails, so does the case.
js() {
    local name=$1 out=$2
    shift 2
    timeout 60 node "$interop/check.js" "$modules" "$@" >"$out" 2>err && return 0
    not_ok "$name" "check.js $*: $(grep -m 1 Error err)"
    return 1
}

# same_entries NAME LOG COPY: we read the same from LOG as they from COPY, which we made of it.
same_entries() {
    hist "$1" convert "$2" --to json -o ours.json && js "$1" theirs.json read "$3" &&
        compare "$1" entries ours.json theirs.json
}

# same_table NAME LOG COPY FORMAT
same_table() {
    hist "$1" convert "$2" --to "$4" -o "ours.$4" && js "$1" "theirs.$4" table "$3" "$4" &&
        compare "$1" text "ours.$4" "theirs.$4"
}

# ---- what we write -------------------------------------------------------------------------------

if load_log; then
    same_entries load_log load.hlog load.hlog
    same_table load_log_table load.hlog load.hlog hgrm
    js load_table theirs.hgrm table load.hlog hgrm &&
        compare load_table text load.hgrm theirs.hgrm
else
    not_ok load_log "exit status $status: $(last_words)"
fi

for log in "$foreign"/*.hlog; do
    name=${log##*/}
    hist "$name" convert "$log" --to hlog -o copy.hlog &&
        same_entries "$name" "$log" copy.hlog
    for format in hgrm csv; do
        same_table "$name/$format" "$log" copy.hlog "$format"
    done
    hist "$name/merge" merge "$log" --by tag -o merged.hlog &&
        hist "$name/merge" convert merged.hlog --to json -o ours.json &&
        js "$name/merge" theirs.json add copy.hlog &&
        compare "$name/merge" entries ours.json theirs.json
done

# ---- what they write -----------------------------------------------------------------------------

js configurations theirs.json write many.hlog &&
    hist configurations convert many.hlog --to json -o ours.json &&
    compare configurations entries ours.json theirs.json
hist configurations_again convert many.hlog --to hlog -o copy.hlog &&
    same_entries configurations_again many.hlog copy.hlog

js base64 theirs.json base64 many.txt && hist base64 convert many.txt --to json -o ours.json &&
    compare base64 entries ours.json theirs.json

js table theirs.hgrm table "$foreign/js.hlog" hgrm &&
    hist table convert theirs.hgrm --to hgrm -o ours.hgrm &&
    compare table rows ours.hgrm theirs.hgrm

# Node's own histogram is HdrHistogram for C, which takes the nearest rank where we round up.
if node -e 'require("perf_hooks").createHistogram()' 2>/dev/null; then
    js nearest_rank theirs.json nearest ranks.hlog &&
        hist nearest_rank convert ranks.hlog --to json -o ours.json &&
        compare nearest_rank entries ours.json theirs.json
else
    skip nearest_rank "this node has no histograms of its own"
fi

finish
