#!/bin/bash
# `plot`: which figures a run gets, what is written in them, and what happens without gnuplot. What
# they look like is for eyes; here no text may lie on another or leave the picture.
# shellcheck source=tests/end_to_end/library.bash
. "$(dirname "$0")/library.bash"

"$python" "$LOOPMARK_SOURCE/tests/data/runs/generate.py" run || exit 1
mkdir nothing

# look FOLDER: checks every SVG in FOLDER/plots and prints what is wrong, a line each.
look() {
    "$python" - "$1" <<'LOOK'
import glob, json, os, re, sys
import xml.etree.ElementTree as xml
folder = sys.argv[1]
run = json.load(open(folder + '/run.json'))
UNITS = {'throughput': ['requests/s'], 'p99': ['ms'], 'percentiles': ['ms', '99.9 %'],
         'connections': ['requests/s', 'µs/request'], 'idle': ['µs/request']}


def texts(path):
    """(x, y, anchor, size, text) of every upright text, and of the turned ones only the text."""
    root = xml.parse(path).getroot()
    found = []
    for group in root.iter('{http://www.w3.org/2000/svg}g'):
        words = [''.join(t.itertext()).strip() for t in group if t.tag.endswith('}text')]
        place = re.match(r'translate\(([-\d.]+),([-\d.]+)\)( rotate)?', group.get('transform', ''))
        if words and words[0] and place:
            found.append((float(place[1]), float(place[2]), group.get('text-anchor'),
                          float(group.get('font-size', '13')), words[0], bool(place[3])))
    return found, [float(n) for n in root.get('viewBox').split()][2:]


def span(text):
    width = 0.5 * text[3] * len(text[4])  # letters of the default font are wider than that
    left = text[0] - {'middle': width / 2, 'end': width}.get(text[2], 0)
    return left, left + width


for path in sorted(glob.glob(folder + '/plots/*.svg')):
    name = os.path.basename(path)
    found, (width, height) = texts(path)
    everything = ' '.join(t[4] for t in found)
    experiment, figure = name.split('.')[:2]
    experiment = next(e for e in run['experiments'] if e['name'] == experiment)
    missing = [w for w in UNITS[figure] + run['environment']['caption'].split() +
               ['repetitions', 'revision', run['revision'], experiment['name']]
               if w not in everything]
    # Servers without anything to draw are no part of a figure; what is drawn says who it is.
    drawn = re.findall(r'^# (.*?)[:,]', open(folder + '/plots/data/' + name[:-3] + 'dat').read(),
                       re.M)
    legend = [t[4] for t in found]
    missing += [s for s in drawn if s not in legend]
    if missing:
        print(f'{name} lacks {missing}')
    if not drawn or not set(drawn) <= {s['name'] for s in experiment['servers']}:
        print(f'{name} draws {drawn}')
    upright = sorted((t for t in found if not t[5]), key=lambda t: (round(t[1]), span(t)[0]))
    for a, b in zip(upright, upright[1:]):
        if round(a[1]) == round(b[1]) and span(a)[1] > span(b)[0]:
            print(f'{name}: "{a[4]}" and "{b[4]}" lie on each other')
    for t in upright:
        if span(t)[0] < 0 or span(t)[1] > width or not t[3] * 0.7 < t[1] < height:
            print(f'{name}: "{t[4]}" leaves the picture')
LOOK
}

# without_gnuplot ARGUMENTS: as run_loopmark, where no other program is found
without_gnuplot() {
    local timeout
    timeout=$(command -v timeout)
    PATH=$folder/nothing "$timeout" --kill-after=2 30 "$LOOPMARK" "$@" >out 2>err
    status=$?
}

# ---- without gnuplot -----------------------------------------------------------------------------

without_gnuplot plot run
[ "$status" -ne 0 ] && [ "$status" -lt 128 ] && grep -q 'gnuplot-nox' err && [ ! -s out ]
result no_gnuplot_is_named $? "status $status: $(last_words)"
[ -z "$(find run/plots -maxdepth 1 -type f)" ]
result no_gnuplot_no_figures $? "$(ls run/plots)"

cat >tiny.ini <<'EXPERIMENT'
[experiment]
question = Does it run?
workload = echo
server   = epoll
measure  = capacity
set.connections = 4
set.warmup      = 20ms
set.duration    = 100ms
repetitions     = 1
EXPERIMENT
without_gnuplot run tiny.ini --quiet --out measured
case $status in
0 | 5) [ -s measured/run.json ] && [ -s measured/report.md ] && grep -q 'gnuplot-nox' err ;;
*) false ;;
esac
result run_goes_on_without_gnuplot $? "status $status: $(last_words)"

# One that fails when it has drawn half.
mkdir broken
cat >broken/gnuplot <<'GNUPLOT'
#!/bin/bash
output=${3##*;output=\'} && output=${output%%\'*}
echo half >"$output" && echo "$output" >>drawn
exit 3
GNUPLOT
chmod +x broken/gnuplot
PATH=$folder/broken:$PATH run_loopmark plot run
[ "$status" -eq 1 ] && grep -q 'gnuplot failed on .*\.gp' err && [ -s drawn ] &&
    [ -z "$(find run/plots -maxdepth 1 -type f)" ]
result gnuplot_fails $? "status $status: $(last_words)"

# ---- what is no run ------------------------------------------------------------------------------

expect no_folder '1 2' 'nowhere' plot nowhere
expect no_record '1 2' 'nothing/run.json' plot nothing
mkdir damaged other_schema
printf '{\n"schema": 1,\n' >damaged/run.json
expect damaged_record '1 2' 'damaged/run.json:[23]: ' plot damaged
echo '{"schema": 2}' >other_schema/run.json
expect other_schema '1 2' 'schema 1' plot other_schema
expect needs_a_folder 2 'folder' plot
LOOPMARK_SOURCE=$folder/nothing expect no_scripts '1 2' "$folder/nothing.*LOOPMARK_SOURCE" plot run

if ! command -v gnuplot >/dev/null; then
    skip figures "gnuplot is missing (package gnuplot-nox)"
    finish
fi

# ---- figures -------------------------------------------------------------------------------------

run_loopmark plot run
[ "$status" -eq 0 ] && [ ! -s err ] && grep -qx 'run/plots' out
result plot $? "status $status: $(head -n 1 err)"

figures=(loop-echo.throughput loop-echo.connections.{1,10,100}-KiB loop-few-conns.throughput
    loop-few-conns.connections.1-KiB loop-equal-rate.p99 loop-equal-rate.percentiles.rate-20000
    loop-idle.p99 loop-idle.idle loop-idle.percentiles.{0,10,100,900,10000}-idle-connections)
wanted=$(for figure in "${figures[@]}"; do echo "$figure.png" && echo "$figure.svg"; done | sort)
drawn=$(find run/plots -maxdepth 1 -type f -printf '%f\n' | sort)
[ "$drawn" = "$wanted" ]
result every_kind_of_figure $? "$(diff <(echo "$wanted") <(echo "$drawn") | tr '\n' ' ')"

why=$(for file in run/plots/*.png; do
    [ "$(head -c 8 "$file" | od -An -tx1 | tr -d ' ')" = 89504e470d0a1a0a ] || echo "$file: no PNG"
    [ "$(stat -c %s "$file")" -gt 5000 ] || echo "$file: nothing in it"
done)
[ -z "$why" ]
result png $? "$(head -n 1 <<<"$why")"
why=$(look run 2>&1)
[ -z "$why" ]
result svg $? "$(tail -n 1 <<<"$why")"

grep -q 'hollow, not ranked: co-limited' run/plots/loop-echo.throughput.svg &&
    grep -q 'too few samples' run/plots/loop-idle.p99.svg &&
    grep -q '8 invalid, in no median' run/plots/loop-idle.idle.svg
result caption_says_what_is_not_ranked $? "it does not"

before=$drawn
run_loopmark plot run
drawn=$(find run/plots -maxdepth 1 -type f -printf '%f\n' | sort)
[ "$status" -eq 0 ] && [ "$before" = "$drawn" ] && [ -z "$(find run -name '*.tmp')" ]
result twice $? "status $status: $(diff <(echo "$before") <(echo "$drawn") | tr '\n' ' ')"

# The scripts are found from anywhere.
rm -rf run/plots
(unset LOOPMARK_SOURCE && "$LOOPMARK" plot run >out 2>err)
result from_anywhere $? "$(last_words)"

# ---- other runs ----------------------------------------------------------------------------------

mkdir empty unmeasured
echo '{"schema": 1, "experiments": [], "repetitions": []}' >empty/run.json
"$python" -c 'import json
run = json.load(open("run/run.json"))
run.update(repetitions=[], latency=[], complete=False)
json.dump(run, open("unmeasured/run.json", "w"))'
for name in empty unmeasured; do
    run_loopmark plot $name
    [ "$status" -eq 0 ] && [ -z "$(find $name/plots -type f)" ]
    result $name $? "status $status: $(last_words)"
done

# Texts of a record are drawn, never run; one repetition has no interval; this run was cut off.
"$python" - <<'ODD'
import json, os
run = json.load(open('run/run.json'))
text = json.dumps(run, ensure_ascii=False).replace('"epoll"', json.dumps("it's `touch ran` $HOME"))
run = json.loads(text)
run['repetitions'] = [r for r in run['repetitions'] if r['block'] == 0]
run['environment']['caption'] = "o'clock `touch ran` | $(touch ran) 100 % \\n"
run.update(complete=False, latency=[])
os.mkdir('odd')
json.dump(run, open('odd/run.json', 'w'))
ODD
run_loopmark plot odd
[ "$status" -eq 0 ] && [ -s odd/plots/loop-echo.throughput.png ] && [ ! -s err ]
result odd_texts $? "status $status: $(last_words)"
svg=odd/plots/loop-echo.throughput.svg
# shellcheck disable=SC2016 # not to be expanded is what is tested
[ ! -e ran ] && grep -qF 'it'\''s `touch ran` $HOME' "$svg" && grep -qF '$(touch ran) 100 %' "$svg"
result odd_texts_are_only_drawn $? "$(ls ran 2>&1), $(grep -o -m 1 'touch ran.*' "$svg")"
grep -q 'none: it takes 6' "$svg" && grep -q ', incomplete' "$svg"
result incomplete_run $? "its caption does not say so"

finish
