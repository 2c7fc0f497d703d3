#!/bin/bash
# posts.sh: of a million posts from each of four threads, on every loop, and of a million from one
# that waits for each, none is lost, overtaken or later than 50 ms. POSTS is the million.
#
# Prints `ok NAME`, `not ok NAME: why` or `skip NAME: why`; exit status 1 if anything was not ok.
set -u
cd "$(dirname "$0")/../.." || exit 1
exec "${LOOPMARK_BUILD:-build}/tests/soak/posts" --posts "${POSTS:-1000000}" --in-time
