#!/bin/bash
# starved.sh: numbers that may not be believed say so, and why; the others are left alone.
# Prints `ok NAME`, `not ok NAME: why` or `skip NAME: why`; exit status 1 if anything was not ok.
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/accuracy/support.bash

needs generator_without_cpu server_without_cpu rate_over_capacity nothing_to_do saturated_server
compile planted_server

serve
while again nothing_to_do; do load nothing_to_do --rate 10 -d 3s -c 10 --pid "$server_pid"; done
holds nothing_to_do '[valid(r), same("requests", r.requests, 30),
    between("generator busy", r.client.busy, 0, 0.05)]' r=nothing_to_do.json

start_hog 1 20
load generator_without_cpu --rate 5000 -d 3s -c 10 --pid "$server_pid"
end_hog
holds generator_without_cpu 'invalid_by(r, "the generator waited for a CPU")' \
    r=generator_without_cpu.json

start_hog 0 20
load server_without_cpu -d 3s -c 10 --pid "$server_pid"
end_hog
holds server_without_cpu 'invalid_by(r, "the server waited for a CPU")' r=server_without_cpu.json

# Without warm-up: its backlog would come first and take the whole window.
load rate_over_capacity --rate 1000000 --warmup 0s -d 3s -c 100 --pid "$server_pid"
holds rate_over_capacity '[invalid_by(r, "of the requests due were sent: .*/s is over what"),
    between("achieved rate", r.achieved_rate, 1000, 900000)]' r=rate_over_capacity.json
end_server

start_server "$folder/planted_server" --burn-ns 20000
while again saturated_server; do load saturated_server -d 3s -c 50 --pid "$server_pid"; done
holds saturated_server '[valid(r), one_of("bound", r.bound, "server", "co-limited"),
    between("server busy", r.server.busy, 0.95, 1.02)]' r=saturated_server.json
finish
