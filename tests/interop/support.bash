#!/bin/bash
# support.bash: what the tests against other implementations of HdrHistogram share. Sourced, never
# run. Gives what tests/end_to_end/library.bash gives, and $foreign, the folder of files that other
# implementations wrote, with their own numbers of them in expected.json.
# shellcheck source=tests/end_to_end/library.bash
. "$(dirname "${BASH_SOURCE[0]}")/../end_to_end/library.bash"
interop=$LOOPMARK_SOURCE/tests/interop
# shellcheck disable=SC2034 # of those who source this
foreign=$LOOPMARK_SOURCE/tests/data/histograms

# compare NAME …: a case; see compare.py.
compare() {
    local name=$1 why
    shift
    why=$("$python" "$interop/compare.py" "$@" 2>&1)
    result "$name" $? "$(tail -n 1 <<<"$why")"
}

# hist NAME ARGUMENTS: `loopmark hist`; when it fails, so does the case.
hist() {
    local name=$1
    shift
    run_loopmark hist "$@"
    [ "$status" -eq 0 ] || not_ok "$name" "loopmark hist $*: $(last_words)"
    return "$status"
}

# load_log: writes load.hlog and load.hgrm under a load of two seconds.
load_log() {
    start_loop epoll 127.0.0.1:0 || return
    run_loopmark load "$(url "$address")" -c 4 -d 2s --hlog load.hlog --hgrm load.hgrm
    end "$server_pid"
    # 5: it is not valid as a measurement, which is no matter here
    [ "$status" -eq 0 ] || [ "$status" -eq 5 ]
}
