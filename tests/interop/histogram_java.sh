#!/bin/bash
# histogram_java.sh: HdrHistogram's own HistogramLogProcessor reads our logs as we do, writes the
# same percentile tables, and we read what it writes.
# shellcheck source=tests/interop/support.bash
. "$(dirname "$0")/support.bash"
jar=/usr/share/java/hdrhistogram.jar

if ! command -v java >/dev/null; then
    skip histogram_java "java is missing: make interop"
    exit 0
elif [ ! -e "$jar" ]; then
    skip histogram_java "$jar (libhdrhistogram-java) is missing: make interop"
    exit 0
fi

# processor NAME ARGUMENTS: values as they are, so nanoseconds, not divided by 10^6. It prints what
# went wrong and ends with 0, so that only silence is success.
processor() {
    local name=$1
    shift
    timeout 60 java -XX:TieredStopAtLevel=1 -cp "$jar" org.HdrHistogram.HistogramLogProcessor \
        -outputValueUnitRatio 1 "$@" >java.out 2>&1 && ! grep -qE 'Exception|Error' java.out &&
        return 0
    not_ok "$name" "HistogramLogProcessor $*: $(grep -m 1 -E 'Exception|Error' java.out)"
    return 1
}

# same_table NAME FORMAT ARGUMENTS: from their file, ARGUMENTS choosing the intervals.
same_table() {
    local name=$1 format=$2 theirs=$3
    shift 3
    hist "$name" convert "$@" --to "$format" --table-unit ns -o "ours.$format" &&
        compare "$name" text "ours.$format" "$theirs"
}

# both_read NAME LOG TAG COPY: we read from LOG what they read from COPY, which we made of it: the
# intervals of a tag ('' for those without), one by one and together.
both_read() {
    local name=$1 log=$2 tag=()
    [ -z "$3" ] || tag=(-tag "$3")
    rm -f theirs theirs.hgrm
    processor "$name" -i "$4" "${tag[@]}" -o theirs || return
    hist "$name" convert "$log" --tag "$3" --to json -o ours.json &&
        compare "$name/intervals" intervals ours.json theirs
    same_table "$name/table" hgrm theirs.hgrm "$log" --tag "$3"
}

# ---- what we write -------------------------------------------------------------------------------

if load_log; then
    both_read load load.hlog '' load.hlog
    hist load_hgrm convert load.hlog --to hgrm -o ours.hgrm &&
        compare load_hgrm text load.hgrm ours.hgrm
else
    not_ok load "exit status $status: $(last_words)"
fi

for log in "$foreign"/*.hlog; do
    name=${log##*/}
    hist "$name" convert "$log" --to hlog -o copy.hlog && both_read "$name" "$log" '' copy.hlog
done

# Tags, part of the time, CSV, what was added up, and a log without the untagged main series.
log=$foreign/java-tagged.hlog
hist tags convert "$log" --to hlog -o copy.hlog
both_read tag_read "$log" read copy.hlog
both_read tag_big "$log" big copy.hlog

if processor listtags -i copy.hlog -listtags; then
    tags=$(tail -n +2 java.out | LC_ALL=C sort | tr '\n' ' ')
    [ "$tags" = "[NO TAG (default)] big read " ]
    result listtags $? "it lists $tags"
fi

processor range -i copy.hlog -start 0.5 -end 1.5 -tag read -o range &&
    same_table range hgrm range.hgrm "$log" --tag read --from 500ms --until 1500ms
processor csv -i copy.hlog -csv -o part && same_table csv csv part.hgrm "$log" --tag ''

hist merged merge "$log" --by all -o merged.hlog && processor merged -i merged.hlog -o theirs &&
    same_table merged hgrm theirs.hgrm "$log"
hist seconds merge "$log" --by second -o seconds.hlog &&
    both_read seconds seconds.hlog '' seconds.hlog
hist tags_only convert "$log" --tag read --to hlog -o only.hlog &&
    both_read tags_only "$log" read only.hlog

# ---- what it writes ------------------------------------------------------------------------------

# read_back NAME TABLE
read_back() {
    hist "$1" convert "$2" --table-unit ns --to hgrm -o ours.hgrm &&
        compare "$1" rows ours.hgrm "$2"
}
processor read_hgrm -i "$log" -o theirs && read_back read_hgrm theirs.hgrm
processor read_csv -i "$log" -tag read -csv -o theirs &&
    read_back read_csv theirs.hgrm

finish
