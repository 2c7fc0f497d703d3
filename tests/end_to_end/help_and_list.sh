#!/bin/bash
# What the program says of itself: --help of everything, `list`, --version, and no command at all.
# shellcheck source=tests/end_to_end/library.bash
. "$(dirname "$0")/library.bash"

# check_help NAME ARGUMENTS
check_help() {
    local name=$1 long
    shift
    run_loopmark "$@"
    long=$("$python" -c 'import sys
print(*[line for line in open("out", encoding="utf-8") if len(line.rstrip("\n")) > 100])')
    if [ "$status" -ne 0 ]; then
        not_ok "$name" "exit status $status"
    elif [ -s err ]; then
        not_ok "$name" "it goes to stderr: $(head -n 1 err)"
    elif ! grep -q 'example' out || ! grep -q '^usage: loopmark' out; then
        not_ok "$name" "no usage or no example"
    elif [ -n "${long// /}" ]; then
        not_ok "$name" "over 100 columns: $long"
    else
        ok "$name"
    fi
}

check_help help --help
check_help help_short -h
commands=(run load serve list report plot)
for command in "${commands[@]}"; do
    check_help "help_$command" "$command" --help
    "$LOOPMARK" --help | grep -qE "^  $command +[^ ]"
    result "help_names_$command" $? "'loopmark --help' does not name it"
done
check_help help_after_options load tcp://127.0.0.1:1 -c 5 --help

refused no_command 'usage: loopmark'
refused unknown_command "no command 'sreve'" sreve
refused unknown_option_first "'--frobnicate'" --frobnicate
for command in "${commands[@]}"; do
    [ "$command" = list ] || refused "${command}_alone" "see .loopmark $command --help" "$command"
    # As an option or as the one argument: it is named.
    refused "${command}_unknown_option" 'frobnicate' "$command" --frobnicate
    [ "$(grep -c frobnicate err)" -eq 1 ]
    result "${command}_says_it_once" $? "'frobnicate' is in several lines of its message"
done
refused list_argument "'loops'" list loops
refused report_two_folders 'one folder' report a b
refused report_no_folder 'nowhere' report nowhere
refused plot_no_folder 'nowhere' plot nowhere

run_loopmark --version
[ "$status" -eq 0 ] && [ "$(wc -l <out)" -eq 1 ] && grep -qE '^loopmark [^ ]+' out
result version $? "status $status: $(head -n 1 out)"

# ---- list ----------------------------------------------------------------------------------------

run_loopmark list
[ "$status" -eq 0 ] && [ ! -s err ] && grep -q '^loops' out && grep -q '^knobs' out
result list $? "status $status: $(head -n 1 err)"

run_loopmark list --json
result list_json "$status" "$(last_words)"
cat >check.py <<'CHECK'
import json, sys
r = json.load(open("out", encoding="utf-8"))
def need(condition, text):
    if not condition:
        sys.exit(text)
need(r["schema"] == 1, "schema")
for kind in "loops workloads experiments claims knobs".split():
    need(r[kind], f"no {kind}")
    for entry in r[kind]:
        need(isinstance(entry["name"], str) and entry["name"], f"{kind}: an entry has no name")
        need(isinstance(entry["available"], bool), f"{entry['name']}: available")
        need(entry["available"] == (entry["reason"] is None),
             f"{entry['name']}: available is {entry['available']}, reason {entry['reason']}")
loops = {loop["name"]: loop for loop in r["loops"]}
need({"select", "poll", "epoll", "epoll-et", "libuv"} <= set(loops), f"loops are {sorted(loops)}")
variants = {name: loop["variant_of"] for name, loop in loops.items() if loop["variant_of"]}
need(variants == {"epoll-spin": "epoll", "epoll-writeend": "epoll", "libuv-write": "libuv"},
     f"variants are {variants}")
need([name for name, loop in loops.items() if loop["control"]] == ["null"], "controls")
need(loops["select"]["available"] and loops["epoll"]["available"], "select and epoll must run")
need({"connections", "rate", "size_bytes"} <= {k["name"] for k in r["knobs"]}, "knobs")
need("echo" in {w["name"] for w in r["workloads"]}, "no echo")
experiments = {e["name"] for e in r["experiments"]}
need(all(c["experiment"] in experiments for c in r["claims"]), "a claim of no experiment")
CHECK
why=$("$python" check.py 2>&1)
result list_contents $? "$(tail -n 1 <<<"$why")"

# An experiment that cannot be read is listed, with the reason.
mkdir -p broken/harness/experiments
printf '[experiment]\nquestion = What?\nworkloda = echo\n' >broken/harness/experiments/bad.ini
LOOPMARK_SOURCE=$folder/broken "$LOOPMARK" list --json >out 2>err
"$python" -c 'import json
entry, = json.load(open("out"))["experiments"]
assert entry["name"] == "bad" and not entry["available"] and "bad.ini:3" in entry["reason"]' 2>why
result list_bad_experiment $? "$(tail -n 1 why)"

"$LOOPMARK" list >/dev/full 2>err
status=$?
[ "$status" -eq 1 ] && grep -q 'No space left' err
result list_full_disk $? "status $status: $(last_words)"

finish
