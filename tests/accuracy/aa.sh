#!/bin/bash
# aa.sh: the instrument against itself. Twenty comparisons of a loop with itself under another name,
# in random order: at the 5 % level one of twenty is flagged on average, and more than three in one
# case of sixty; and the intervals are narrow enough to see 2 %.
#
# Prints `ok NAME`, `not ok NAME: why` or `skip NAME: why`; exit status 1 if anything was not ok.
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/accuracy/support.bash
needs enough_comparisons few_flagged narrow

"$loopmark" run tests/accuracy/aa.ini --no-plots --quiet --out "$folder/run" \
    >"$folder/run.out" 2>"$folder/run.err"
status=$?
[ $status -eq 0 ] || echo "# run ended with $status: $(tail -n 1 "$folder/run.err")"
"$python" tests/accuracy/aa.py "$folder/run/run.json" >"$folder/aa.json"
sed 's/^/# /' "$folder/aa.json"
holds enough_comparisons '[between("comparisons", aa.comparisons, 20, 20)]' aa=aa.json
holds few_flagged '[between("flagged", aa.flagged, 0, 3)]' aa=aa.json
holds narrow '[between("half-width", aa.half_width_most, 0, 0.02)]' aa=aa.json
finish
