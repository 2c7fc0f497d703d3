#!/bin/bash
# tidy.sh: the rules of style that a machine can see, for every file that git tracks or would.
set -u
cd "${LOOPMARK_SOURCE:-$(dirname "$0")/../..}" || exit 1
export LC_ALL=C.UTF-8

if [ -n "${SAN-}" ]; then
    echo "skip tidy: the sources are the same with sanitizers and without"
    exit 0
fi

failures=0
# check NAME VIOLATIONS: lines of text, none when all is well
check() {
    if [ -z "$2" ]; then
        echo "ok $1"
    else
        head -n 40 <<<"$2"
        echo "not ok $1: $(wc -l <<<"$2"), first $(head -n 1 <<<"$2")"
        failures=$((failures + 1))
    fi
}

# Without git (a copy of the sources) everything but hidden and built files counts as ours.
list_files() {
    git ls-files --cached --others --exclude-standard 2>/dev/null ||
        find . -name '.?*' -prune -o -path ./build -prune -o -path './results/*/*' -prune \
            -o -type f -printf '%P\n'
}
mapfile -t files < <(list_files | sort -u | while read -r file; do
    [ -f "$file" ] && echo "$file" # deleted ones are tracked until the next commit
done)
# of PATTERN: the files whose whole path the regular expression matches
of() { printf '%s\n' "${files[@]}" | grep -xE "$1"; }
# lines PATTERN FILE…: the matching lines, as FILE:NUMBER:TEXT
lines() { local pattern=$1 && shift && grep -nHIE -- "$pattern" "$@" /dev/null; }

mapfile -t c_files < <(of '.*\.[ch]')
mapfile -t headers < <(of '.*\.h')
mapfile -t scripts < <(grep -lIE -m 1 '^#!.*\b(sh|bash)$' "${files[@]}" /dev/null)
mapfile -t code < <(of '.*\.([ch]|sh|py|gp)|Makefile|tests/run|\.ci/.*' | grep -vx '.ci/packages')
mapfile -t written < <(of '.*' | grep -vE '^(tests/(data|fuzz/corpus)|results/reference[^/]*)/')

# C files as `FILE:LINE:TEXT` without comments, strings and character constants.
bare_c() {
    awk '
    function end_file() { if (in_comment) print file ":comment never ends"; in_comment = 0 }
    FNR == 1 { end_file(); file = FILENAME }
    END { end_file() }
    {
        text = $0
        gsub(/\\./, "", text)
        gsub(/"[^"]*"/, "\"\"", text)
        gsub(/\047[^\047]?\047/, "", text)
        if (in_comment && !sub(/^.*\*\//, "", text))
            next
        in_comment = 0
        gsub(/\/\*([^*]|\*+[^*\/])*\*+\//, "", text)
        sub(/\/\/.*/, "", text)
        if (sub(/\/\*.*/, "", text))
            in_comment = 1
        print FILENAME ":" FNR ":" text
    }' "${c_files[@]}"
}

# Functions begin in the first column and end with a brace there. One that has to be longer says so
# just above: "long because ...".
long_functions() {
    awk -v most=70 '
    FNR == 1 { start = 0; reason = -9 }
    /long because/ { reason = FNR }
    !start && /^[a-zA-Z_].*\(/ && !/[;=]/ { start = FNR; excused = FNR - reason <= 3; opened = 0 }
    start && /\{/ { opened = 1 }
    start && !opened && /;/ { start = 0 } # it was only declared
    start && /^\}/ {
        if (FNR - start + 1 > most && !excused)
            print FILENAME ":" start ": " FNR - start + 1 " lines"
        start = 0
    }' "${c_files[@]}"
}

header_form() {
    local header guard
    for header in "${headers[@]}"; do
        guard=$(basename "$header" .h | tr 'a-z-' 'A-Z_')
        guard=LOOPMARK_${guard}_H
        head -n 1 "$header" | grep -qF "/* ${header##*/}: " ||
            echo "$header: the first line should be /* ${header##*/}: what it is"
        grep -A 1 -x "#ifndef $guard" "$header" | grep -qx "#define $guard" ||
            echo "$header: no include guard $guard"
    done
}

# calls NAMES FILES: calls of the functions NAMES outside the files that FILES matches
calls() { bare_c | grep -E "(^|[^a-zA-Z0-9_])($1)[[:space:]]*\(" | grep -vE "^($2):"; }

check files_found "$([ ${#headers[@]} -gt 5 ] && [ ${#scripts[@]} -gt 3 ] || echo "too few files")"
check at_most_100_columns "$(lines '^.{101}' "${code[@]}" | cut -c 1-80)"
check no_tabs_in_c "$(lines $'\t' "${c_files[@]}")"
check no_trailing_space "$(lines '[[:space:]]$' "${written[@]}")"
check at_most_70_lines_a_function "$(long_functions)"
check comments_end "$(bare_c | grep ':comment never ends$')"
check no_unbounded_calls "$(calls 'v?sprintf|strcpy|strcat|atoi|atol|atoll|atof|gets' 'none')"
check only_main_exits "$(calls exit 'harness/main\.c|tests/.*')"
check only_check_aborts "$(calls abort 'loops/check\.h|tests/.*')"
check header_form "$(header_form)"
check no_places_of_one_machine \
    "$(lines '(^|[^a-zA-Z0-9_.>}])/(wor[k]|hom[e])(/|[^a-zA-Z0-9_/-]|$)' "${files[@]}")"
check top_level "$(printf '%s\n' "${files[@]}" | cut -d / -f 1 | sort -u |
    grep -vxE '\..*|loops|workloads|harness|results|plots|tests|Makefile|README\.md|LICENSE')"
if command -v shellcheck >/dev/null; then
    check shellcheck "$(shellcheck --format=gcc "${scripts[@]}" 2>&1)"
else
    echo "skip shellcheck: it is not installed"
fi

[ $failures -eq 0 ]
