#!/bin/bash
# objects.sh: workloads reach the kernel's events through loop.h only; their object files prove it.
set -u
cd "${LOOPMARK_BUILD:-$(dirname "$0")/../../build}" || exit 1

library='uv_.*|io_uring_.*|epoll_.*|kqueue|kevent'
system='select|pselect|poll|ppoll|syscall'
hardened='__(fdelt|poll|ppoll)_chk' # what they are called with _FORTIFY_SOURCE

failures=0
for source in "${LOOPMARK_SOURCE:-$OLDPWD}"/workloads/{,drivers/,techniques/}*.c; do
    [ -e "$source" ] || continue
    object=workloads/${source#*/workloads/}
    object=${object%.c}.o
    if ! symbols=$(nm --undefined-only --format=just-symbols "$object" 2>&1); then
        echo "not ok $object: $symbols"
    elif found=$(grep -xE "$library|$system|$hardened" <<<"$symbols"); then
        echo "not ok $object: it calls $(tr '\n' ' ' <<<"$found")"
    else
        echo "ok $object"
        continue
    fi
    failures=$((failures + 1))
done

[ $failures -eq 0 ]
