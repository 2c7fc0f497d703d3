#!/bin/bash
# foreign_files.sh: files that other implementations of HdrHistogram wrote are read as they were
# meant: the numbers are those of the implementation itself.
# shellcheck source=tests/interop/support.bash
. "$(dirname "$0")/support.bash"

# The names in expected.json, each with its number of entries and, of tables, unit and ticks.
list_files() {
    "$python" - "$foreign/expected.json" <<'END'
import json, sys
for name, entries in json.load(open(sys.argv[1])).items():
    print(name, len(entries), entries[0].get("table_unit", "-"), 3 if "coarse" in name else 5)
END
}

# read_all NAME ENTRIES [OPTION…]: all of a file into ours.json. Several tables have to be asked for
# one by one: they are not parts of a whole.
read_all() {
    local name=$1 entries=$2 number
    shift 2
    if [ $# -eq 0 ] || [ "$entries" -eq 1 ]; then
        hist "$name" convert "$foreign/$name" "$@" --to json -o ours.json
        return
    fi
    for number in $(seq "$entries"); do
        hist "$name/$number" convert "$foreign/$name" "$@" --table "$number" --to json \
            -o "table-$number.json" || return
    done
    "$python" -c 'import json, sys
tables = [json.load(open(path)) for path in sys.argv[1:]]
tables[0]["histograms"] = [t["histograms"][0] for t in tables]
json.dump(tables[0], open("ours.json", "w"))' table-*.json
    rm -f table-*.json
}

while read -r name entries unit ticks; do
    table=()
    [ "$unit" = - ] || table=(--table-unit "$unit")
    read_all "$name" "$entries" "${table[@]}" || continue
    compare "$name" entries ours.json "$foreign/expected.json" "$name"
    if [ "$unit" = - ]; then
        hist "$name/again" convert "$foreign/$name" --to hlog -o again.hlog &&
            hist "$name/again" convert again.hlog --to json -o ours.json &&
            compare "$name/again" entries ours.json "$foreign/expected.json" "$name"
    elif [ "$entries" -eq 1 ]; then
        hist "$name/rows" convert "$foreign/$name" "${table[@]}" --to hgrm --ticks "$ticks" \
            -o ours.hgrm &&
            compare "$name/rows" rows ours.hgrm "$foreign/expected.json" "$name"
    fi
done < <(list_files)

# Every file is in expected.json, or it is not tested.
unlisted=$(cd "$foreign" && for name in *; do
    case $name in expected.json | README.md) continue ;; esac
    grep -q "^\"$name\":" expected.json || echo "$name"
done)
result all_files_are_expected "${#unlisted}" "not in expected.json: $unlisted"

finish
