#!/bin/bash
# starved.sh: numbers that may not be believed say so, and why; the others are left alone.
# Prints `ok NAME`, `not ok NAME: why` or `skip NAME: why`; exit status 1 if anything was not ok.
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/accuracy/support.bash
awake=() # what keeps a CPU awake would be in the quota

needs nothing_to_do generator_without_cpu_{echo,http} generator_under_quota_{echo,http} \
    server_without_cpu rate_over_capacity saturated_server
compile planted_server

# A control group of its own under ours, in either version; no path: this machine has none to make.
make_group() {
    local controllers path
    group=
    while IFS=: read -r _ controllers path; do
        case ,$controllers, in
        *,cpu,*) group=/sys/fs/cgroup/cpu${path%/}/loopmark-starved-$$ ;;
        ,,) [ -e /sys/fs/cgroup/cgroup.controllers ] &&
            group=${group:-/sys/fs/cgroup${path%/}/loopmark-starved-$$} ;;
        esac
    done </proc/self/cgroup
    [ -n "$group" ] && mkdir "$group" 2>/dev/null || group=
}
# limit_group SHARE: of one CPU, in per cent, for every 20 ms.
limit_group() {
    if [ -e "$group/cpu.max" ]; then
        echo "$(($1 * 200)) 20000" >"$group/cpu.max"
    else
        echo 20000 >"$group/cpu.cfs_period_us" && echo "$(($1 * 200))" >"$group/cpu.cfs_quota_us"
    fi 2>/dev/null
}
end_group() {
    [ -z "$group" ] || rmdir "$group" 2>/dev/null
    group=
}
trap 'end_server; end_hog; end_group; rm -rf "$folder"' EXIT

# A generator that is not given the CPU it needs, whatever the protocol: it shares its CPU with
# something that takes all it gets, or is kept to a share of it.
starve_generator() {
    local name=$1
    start_hog 1 20
    load "generator_without_cpu_$name" --rate 5000 -d 3s -c 10 --pid "$server_pid"
    end_hog
    holds "generator_without_cpu_$name" '[same("exit status", status, 5),
        invalid_by(r, "the generator waited for a CPU")]' \
        r="generator_without_cpu_$name.json" status="$load_status"

    make_group
    if [ -z "$group" ] || ! limit_group 30; then
        skip "generator_under_quota_$name" "no control group with a CPU quota can be made here"
        end_group
        return
    fi
    (
        echo "$BASHPID" >"$group/cgroup.procs"
        load "generator_under_quota_$name" --rate 5000 -d 3s -c 10 --pid "$server_pid"
        echo "$load_status" >"$folder/quota.status"
    )
    end_group
    holds "generator_under_quota_$name" '[same("exit status", status, 5),
        invalid_by(r, "the generator")]' \
        r="generator_under_quota_$name.json" status="$(cat "$folder/quota.status")"
}

start_server "$loopmark" serve --loop epoll --workload http
scheme=http
starve_generator http
scheme=tcp
end_server

serve
while again nothing_to_do; do load nothing_to_do --rate 10 -d 3s -c 10 --pid "$server_pid"; done
holds nothing_to_do '[valid(r), same("requests", r.requests, 30),
    between("generator busy", r.client.busy, 0, 0.05)]' r=nothing_to_do.json

starve_generator echo

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
