#!/bin/bash
# `make install`: what it puts somewhere works there, moved and without the checkout; man page and
# completion say what the program does; `make uninstall` removes it all.
# alone: it runs `selftest`, whose server and generator spin on two CPUs
# shellcheck source=tests/end_to_end/library.bash
. "$(dirname "$0")/library.bash"

built=$LOOPMARK
checkout=$LOOPMARK_SOURCE
unset LOOPMARK_SOURCE # the installed program is to find its own

# What is built is installed: nothing is built here, where other tests use it.
make_target() {
    env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL make -s -C "$checkout" SAN="${SAN-}" "$1" \
        DESTDIR="$folder/stage area" PREFIX=/usr >out 2>err
    status=$?
}

# ---- install and uninstall -----------------------------------------------------------------------

make_target install-built
result install "$status" "$(last_words)"
if [ "$status" -ne 0 ]; then
    finish
fi
[ "$(cd 'stage area' && find . -mindepth 1 -maxdepth 1)" = ./usr ]
result only_under_prefix $? "$(find 'stage area' -maxdepth 1 | tr '\n' ' ')"
found=$(find 'stage area' ! -type l ! -perm -a=r)
[ -z "$found" ]
result readable_by_all $? "not $(head -n 1 <<<"$found")"

mkdir -p 'stage area/usr/share/other'
touch 'stage area/usr/share/other/file' 'stage area/usr/share/loopmark/harness/experiments/old.ini'
make_target install-built
[ "$status" -eq 0 ] && [ ! -e 'stage area/usr/share/loopmark/harness/experiments/old.ini' ]
result nothing_of_former_versions $? "an old experiment is still there"

cp -a 'stage area/usr' 'moved tree'
make_target uninstall
found=$(find 'stage area' ! -type d)
[ "$status" -eq 0 ] && [ "$found" = 'stage area/usr/share/other/file' ]
result uninstall $? "left: $(tr '\n' ' ' <<<"$found")"

# ---- away from the checkout ----------------------------------------------------------------------

# From here on $LOOPMARK is the installed program, for which the checkout is an empty folder.
cat >hide <<'HIDE'
#!/bin/sh
# hide FOLDER COMMAND…: the command, for which there is nothing in FOLDER
mount -t tmpfs none "$1" && shift && exec "$@"
HIDE
chmod +x hide
hiding=
for option in -m -rm; do
    [ -z "$hiding" ] && unshare "$option" "$folder/hide" "$checkout" true 2>/dev/null &&
        hiding="unshare $option '$folder/hide' '$checkout'"
done
[ -n "$hiding" ] || skip checkout_hidden "unshare may not mount anything"
mkdir bin
cat >bin/loopmark <<WRAPPER
#!/bin/sh
exec $hiding '$folder/moved tree/bin/loopmark' "\$@"
WRAPPER
chmod +x bin/loopmark
export LOOPMARK=$folder/bin/loopmark
installed="moved tree/share/loopmark"

run_loopmark --help
[ "$status" -eq 0 ] && grep -q '^usage: loopmark' out
result help $? "status $status: $(last_words)"

# All of it is there if the same can run as in the checkout.
run_loopmark list --json
mv out installed.json
"$built" list --json >built.json
cmp -s installed.json built.json
result list $? "status $status: $(diff installed.json built.json | head -n 3 | tr '\n' ' ')"

run_until '{"epoll", "asyncio"} <= {x["server_name"] for x in reps if x["requests"] > 0}' echo \
    loop-echo --smoke --no-plots
[ "$status" -eq 0 ]
result run $? "status $status: $(last_words)"
record run_record run echo/run.json 'r["complete"]' \
    'r["experiments"][0]["file"] == "harness/experiments/loop-echo.ini"' \
    '{"epoll", "asyncio"} <= {x["server_name"] for x in reps if x["requests"] > 0}'

run_loopmark run loop-raw-epoll --smoke --no-plots
[ "$status" -eq 0 ] && [ -e results/latest/run.json ]
result results_in_the_current_folder $? "status $status: $(last_words)"
"$python" -c 'import json
r = json.load(open("results/latest/run.json"))
assert not r["experiments"][0]["skipped"], r["experiments"][0]["skipped"]
assert "raw-epoll" in {x["server_name"] for x in r["repetitions"]}' 2>why
result raw_server $? "$(tail -n 1 why)"

run_loopmark report echo
[ "$status" -eq 0 ] && grep -q asyncio out
result report $? "status $status: $(last_words)"
if command -v gnuplot >/dev/null; then
    "$python" "$checkout/tests/data/runs/generate.py" figures >/dev/null
    run_loopmark plot figures
    [ "$status" -eq 0 ] && [ ! -s err ] && [ -s figures/plots/loop-echo.throughput.svg ]
    result plot $? "status $status: $(last_words)"
else
    skip plot "gnuplot is missing (package gnuplot-nox)"
fi

start_loop epoll unix:echo.sock
run_loopmark load unix:echo.sock -c 2 -n 1000 --hlog run.hlog
end "$server_pid"
[ "$status" -eq 0 ] || [ "$status" -eq 5 ]
result serve_and_load $? "status $status: $(last_words)"
run_loopmark hist run.hlog
result hist "$status" "$(last_words)"
run_loopmark audit epoll raw-epoll -c 2 -n 1000
[ "$status" -eq 0 ] && grep -q '^raw-epoll' out
result audit $? "status $status: $(last_words)"
run_loopmark selftest --quick --quiet
[ "$status" -eq 0 ] || [ "$status" -eq 5 ]
result selftest $? "status $status: $(last_words)"

mv "$installed" away
expect data_missing 1 "moved tree/share/loopmark/harness/experiments" list
mv away "$installed"

# A checkout may be moved as well, and where the program is called from does not matter.
mkdir -p other/build/address other/harness/experiments
cp "$checkout/harness/experiments/loop-echo.ini" other/harness/experiments/only.ini
cp "$built" other/build/address/
other/build/address/loopmark list --json >out 2>err
"$python" -c 'import json
names = [entry["name"] for entry in json.load(open("out"))["experiments"]]
assert names == ["only"], names' 2>why
result moved_checkout $? "$(tail -n 1 why)"

# ---- the man page --------------------------------------------------------------------------------

page="moved tree/share/man/man1/loopmark.1"
! LC_ALL=C grep -q '[^ -~]' "$page"
result man_ascii $? "$(LC_ALL=C grep -n -m 1 '[^ -~]' "$page")"

# check_page NAME COMMAND…: no word of warning about the page, which has no date. mandoc's go to
# stdout.
check_page() {
    local name=$1
    shift
    if ! command -v "$1" >/dev/null; then
        skip "$name" "$1 is missing"
        return
    fi
    "$@" "$page" >out 2>err
    status=$?
    [ "$1" != mandoc ] || cat out >>err
    why=$(grep -v 'WARNING: missing date' err)
    { [ "$status" -eq 0 ] || [ "$1" = mandoc ]; } && [ -z "$why" ]
    result "$name" $? "status $status: $(head -n 1 <<<"$why")"
}
check_page man_groff groff -man -ww -z
check_page man_groff_utf8 groff -man -ww -z -Tutf8
check_page man_mandoc mandoc -T lint -W warning
check_page man_man man --warnings -l
check_page man_name lexgrog

# Every option of the page is one of its command and takes an argument where it says so; and no
# option is in no help.
options=$(awk '
    /^\.SH /     { command = "" }
    /^\.SS /     { command = $2 }
    row && command {
        while (match($0, /\\fB\\-\\-[a-z\\-]+\\fR( \\fI)?/)) {
            found = substr($0, RSTART, RLENGTH)
            $0 = substr($0, RSTART + RLENGTH)
            takes = found ~ /I$/
            gsub(/\\fB|\\fR.*|\\/, "", found)
            print command, found, takes
        }
    }
    { row = /^\.TP/ }' "$page")
why=$(while read -r command option takes; do
    url=$([ "$command" != load ] || echo tcp://127.0.0.1:1)
    # shellcheck disable=SC2086 # perhaps nothing
    said=$("$built" "$command" $url "$option=?" --frobnicate 2>&1)
    grep -q "unrecognized option '$option" <<<"$said" && echo "$command has no $option"
    grep -q "doesn't allow an argument" <<<"$said" && refuses=1 || refuses=0
    [ "$takes" -ne "$refuses" ] || echo "$command $option: takes an argument, or not?"
done <<<"$options")
[ -z "$why" ] && [ "$(wc -l <<<"$options")" -gt 50 ]
result man_options $? "$(wc -l <<<"$options") options, $(head -n 1 <<<"$why")"
why=$(grep -hoE '\{"[a-z-]+", (no|required)_argument' "$checkout"/harness/*.c | cut -d '"' -f 2 |
    sort -u | while read -r option; do
        sed 's/\\-/-/g; s/\\f./ /g' "$page" | grep -q -e "[ [(]--$option\b" ||
            [ "$option" = control-fd ] || echo "--$option"
    done)
[ -z "$why" ]
result every_option_in_a_help $? "not $(tr '\n' ' ' <<<"$why")"

# ---- completion ----------------------------------------------------------------------------------

# What is typed, and what it becomes by a tab.
cases=(
    'loopmark self' 'loopmark selftest '
    'loopmark load --arr' 'loopmark load --arrivals '
    'loopmark load --arrivals p' 'loopmark load --arrivals poisson '
    'loopmark load --set arr' 'loopmark load --set arrivals='
    'loopmark load --set arrivals=p' 'loopmark load --set arrivals=poisson '
    'loopmark load --set=arrivals=p' 'loopmark load --set=arrivals=poisson '
    'loopmark load tc' 'loopmark load tcp://'
    'loopmark load tcp://127.0.0.1:1 --swe' 'loopmark load tcp://127.0.0.1:1 --sweep '
    'loopmark serve --workload http --loop=epoll-w'
    'loopmark serve --workload http --loop=epoll-writeend '
    'loopmark serve --set conn' 'loopmark serve --set conn'
    'loopmark run --smoke loop-few' 'loopmark run --smoke loop-few-conns '
    'loopmark run ./min' 'loopmark run ./mine.ini '
    'loopmark run --out some' 'loopmark run --out somewhere/'
    'loopmark list --j' 'loopmark list --json '
    'loopmark hist conv' 'loopmark hist convert '
    'loopmark hist convert first' 'loopmark hist convert first\ file.hlog '
    'loopmark plot some' 'loopmark plot somewhere/'
    'loopmark load -c some' 'loopmark load -c some'
)
touch mine.ini 'first file.hlog' something
mkdir somewhere

# check_typed SHELL COMMAND…: what the shell makes of the cases
check_typed() {
    local name=$1 i
    shift
    rm -f typed
    for ((i = 0; i < ${#cases[@]}; i += 2)); do echo "${cases[i]}"; done |
        PATH=$folder/bin:$PATH TERM=dumb "$python" "$here/type_in_shell.py" "$@" >out 2>&1
    result "${name}_answers" $? "$(tail -n 1 out)"
    mapfile -t lines < <(cat typed)
    for ((i = 0; i < ${#cases[@]}; i += 2)); do
        [ "${lines[i / 2]-}" = "<${cases[i + 1]}>" ]
        result "$name: ${cases[i]}" $? "it became ${lines[i / 2]-nothing}"
    done
}

cat >bashrc <<'BASH'
bind 'set enable-bracketed-paste off' 'set bell-style none'
bind -x '"\C-t": printf "<%s>\n" "$READLINE_LINE" >>typed'
bind '"\C-y": insert-completions'
. "moved tree/share/bash-completion/completions/loopmark"
PS1='ready> '
BASH
check_typed bash bash --noprofile --rcfile bashrc -i

if command -v zsh >/dev/null; then
    cat >.zshrc <<'ZSH'
fpath=("$PWD/moved tree/share/zsh/site-functions" $fpath)
autoload -U compinit && compinit -u -D
append_line() { print -r -- "<$BUFFER>" >>typed }
zle -N append_line && bindkey '^T' append_line
unsetopt beep auto_remove_slash prompt_cr prompt_sp
PS1='ready> '
ZSH
    ZDOTDIR=$folder check_typed zsh zsh -o no_global_rcs -i
else
    skip zsh "zsh is missing"
fi

# All that may follow.
cases=(
    'loopmark load --arrivals ^Y' 'loopmark load --arrivals constant poisson '
    'loopmark load --status-errors ^Y' 'loopmark load --status-errors 4xx 5xx none '
    'loopmark serve --workload ^Y' 'loopmark serve --workload database echo http offload '
    'loopmark report --^Y' 'loopmark report --help '
)
check_typed bash_all bash --noprofile --rcfile bashrc -i

why=$(for command in run load serve hist report list; do
    for word in '' --; do
        "$LOOPMARK" --complete "$command" "$word" | sort | uniq -d
    done
done)
[ -z "$why" ]
result nothing_twice $? "offered twice: $(tr '\n' ' ' <<<"$why")"
finish
