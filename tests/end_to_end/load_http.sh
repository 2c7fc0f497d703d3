#!/bin/bash
# `load` on HTTP servers: our own, nginx, and awkward ones; what they do wrong is counted by kind.
# shellcheck source=tests/end_to_end/library.bash
. "$(dirname "$0")/library.bash"

quick=(--warmup 20ms --timeout 20s --quiet --json)
no_errors='sum(r["errors"].values()) == 0'
all_2xx='r["status"]["2xx"]["count"] == r["requests"] > 0'

if ! "$LOOPMARK" load http://127.0.0.1:1/ -n 1 -q 2>&1 | grep -q 'refused'; then
    skip load_http "built without llhttp"
    finish
fi

# load NAME URL STATUSES CONDITION ARGUMENTS: what `load` says of URL
load() {
    local name=$1 target=$2 statuses=$3 condition=$4
    shift 4
    load_until "$name" "$statuses" "$condition" "$target" "${quick[@]}" "$@"
}

# ---- awkward servers -----------------------------------------------------------------------------

# awkward NAME MANNER STATUSES CONDITION ARGUMENTS: a load on awkward_http.py MANNER
awkward() {
    local name=$1 manner=$2
    shift 2
    start awkward "$python" "$here/awkward_http.py" "$manner" 127.0.0.1:0 ||
        not_ok "$name" "did not start: $(tail -n 1 awkward.err)"
    load "$name" "http://$address/" "$@"
    kill -0 "$server_pid"
    result "$name/server_lives" $? "the server ended: $(tail -n 1 awkward.err)"
    end "$server_pid"
}

# Not valid may be what the machine is to blame for, so it is never what these ask.
for manner in length chunked interim; do
    awkward $manner $manner '0 5' "$no_errors and $all_2xx and r['requests'] == 300" -c 4 -n 300
    awkward ${manner}_pipelined $manner '0 5' "$no_errors and $all_2xx" -c 2 -n 300 --pipeline 5
    awkward ${manner}_verified $manner '0 5' "$no_errors and $all_2xx" -c 2 -n 300 --verify
done
# Each answer ends its connection, and that is no error.
for manner in until_close http10; do
    awkward $manner $manner '0 5' "$no_errors and $all_2xx and r['reconnects'] > 100" -c 4 -n 200
    awkward ${manner}_open $manner '0 5' "$no_errors and $all_2xx and r['reconnects'] > 50 and
        r['connect_ns']['count'] > 50" -c 4 -n 80 --rate 200
done
# What was pipelined behind the last answer is asked again: nothing is lost or counted twice.
awkward said_last said_last '0 5' "$no_errors and $all_2xx and r['requests'] == 300 and
    r['reconnects'] >= 90" -c 2 -n 300
awkward said_last_pipelined said_last '0 5' "$no_errors and $all_2xx and r['requests'] == 300 and
    r['reconnects'] >= 90" -c 2 -n 300 --pipeline 4
awkward said_last_open said_last '0 5' "$no_errors and $all_2xx and
    r['requests'] + r['unsent'] == 80" -c 2 -d 400ms --rate 200 --pipeline 4
# Slow enough for the connection to be idle when it ends.
awkward idle_close idle_close '0 5' "$no_errors and r['reconnects'] > 0" -c 1 -d 700ms --rate 5

head -c 3000000 /dev/zero >big
awkward early early 5 'r["status"]["4xx"]["count"] == r["requests"] == r["errors"]["status"] == 20
    and sum(r["errors"].values()) == 20' -c 2 -n 20 --body @big
awkward half_close half_close 5 'r["errors"]["closed"] > 0 and r["requests"] == 0 and
    any(c["phase"] == "close" and c["errno"] == "EPIPE" and "middle" in c["what"]
        for c in r["causes"])' -c 2 -d 300ms
awkward half_reset half_reset 5 'r["errors"]["reset"] > 0 and r["requests"] == 0 and
    any(c["phase"] == "receive" and c["errno"] == "ECONNRESET" for c in r["causes"])' -c 2 -d 300ms
awkward garbage garbage 5 'r["errors"]["parse"] > 0 and r["requests"] == 0 and
    any(c["phase"] == "parse" and c["what"] for c in r["causes"])' -c 2 -d 300ms
awkward unasked unasked 5 'r["errors"]["parse"] > 0 and
    any(c["what"] == "bytes that were not asked for" for c in r["causes"])' -c 1 -d 300ms --rate 50
awkward silent silent 5 'r["errors"]["timeout"] >= 2 and r["requests"] == 0 and
    r["service_ns"]["min"] >= 199e6 and any(c["phase"] == "timeout" for c in r["causes"])' \
    -c 2 -d 700ms --timeout 200ms
awkward sometimes_503 sometimes_503 5 'r["errors"]["status"] == r["status"]["5xx"]["count"] and
    25 <= r["status"]["5xx"]["count"] <= 35 and r["requests"] == 300 and
    any("status" in reason for reason in r["invalid"]) and
    r["status"]["5xx"]["latency_ns"]["count"] == r["status"]["5xx"]["count"]' -c 2 -n 300
awkward statuses_accepted sometimes_503 '0 5' "$no_errors and r['status']['5xx']['count'] > 0" \
    -c 2 -n 300 --status-errors none
awkward changing changing 5 'r["errors"]["wrong_answer"] > 0' -c 1 -d 300ms --verify
awkward changing_not_looked_at changing '0 5' "$no_errors" -c 1 -n 100

# ---- gates ---------------------------------------------------------------------------------------

start awkward "$python" "$here/awkward_http.py" length 127.0.0.1:0
load slo "http://$address/" '0 3 5' '[s["verdict"] for s in r["slo"]] == ["met", "broken"]' -c 2 \
    -n 1000 --slo 'p50<60s' --slo 'p50<1us'
# The code follows from the verdict where the run is valid, which the machine may not let it be.
valid=$(grep -c '"valid": true' out)
[ "$status" = $((valid ? 3 : 5)) ]
result slo_exit_code $? "exit status $status, valid: $valid"
end "$server_pid"

# ---- our own server ------------------------------------------------------------------------------

for where in 127.0.0.1:0 "unix:$folder/http.sock" '[::1]:0'; do
    [[ $where = '['* ]] && ! has_ipv6 && continue
    if ! start server "$LOOPMARK" serve --loop epoll --workload http --listen "$where"; then
        not_ok "own_$where" "$(tail -n 1 server.err)"
        continue
    fi
    base=http://$address
    [[ $where = unix:* ]] && base=$base:
    load "own_$where" "$base/" '0 5' "$no_errors and $all_2xx and r['requests'] == 1000" \
        -c 4 -n 1000 --verify
    load "own_pipelined_$where" "$base/bytes/100000" '0 5' "$no_errors and $all_2xx and
        r['client']['received_bytes'] > 500 * 100000" -c 4 -n 500 --pipeline 8
    load "own_posts_$where" "$base/count" '0 5' "$no_errors and $all_2xx" -c 2 -n 50 --body @big
    load "own_missing_$where" "$base/nowhere" 5 'r["status"]["4xx"]["count"] == 200' -c 2 -n 200
    for keep_alive in off 7; do
        load "own_keep_alive_${keep_alive}_$where" "$base/" '0 5' "$no_errors and $all_2xx and
            r['requests'] == 300 and r['reconnects'] >= 35" -c 3 -n 300 --keep-alive $keep_alive
    done
    printf '%s\n' '# a mix' '2 GET /' '1 HEAD /bytes/5000' '1 POST /count some text' >mix
    load "own_mix_$where" "$base/" '0 5' "$no_errors and $all_2xx" -c 3 -n 400 --mix mix --verify \
        --pipeline 3
    kill -TERM "$server_pid"
    await_end "$server_pid" 5
done

# Any protocol can have new connections; nobody says here which request is the last.
start_loop epoll 127.0.0.1:0
load echo_keep_alive "tcp://$address" '0 5' "$no_errors and r['requests'] == 300 and
    r['reconnects'] >= 90" -c 2 -n 300 --keep-alive 3 --pipeline 2
end "$server_pid"

# ---- nginx ---------------------------------------------------------------------------------------

if nginx=$(PATH=$PATH:/usr/sbin command -v nginx); then
    cat >nginx.conf <<CONFIGURATION
daemon off; worker_processes 1; pid nginx.pid; error_log nginx.log; master_process off;
events { worker_connections 256; }
http {
    access_log off;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi; scgi_temp_path scgi;
    keepalive_requests 50;
    server {
        listen unix:$folder/nginx.sock;
        root $folder;
        location / { return 200 "hello\n"; }
        location /file { alias $folder/big; }
        location /empty { return 204; }
        location /same { return 304; }
        location /missing { return 404 "no\n"; }
        location /closed { keepalive_timeout 0; return 200 "bye\n"; }
        location /dropped { return 444; }
    }
}
CONFIGURATION
    "$nginx" -p "$folder" -c "$folder/nginx.conf" 2>nginx.err &
    nginx_pid=$!
    children+=("$nginx_pid")
    await 10 test -S nginx.sock
    result nginx_started $? "$(tail -n 1 nginx.err)"
    web=http://unix:$folder/nginx.sock:
    load nginx "$web/" '0 5' "$no_errors and $all_2xx and r['requests'] == 2000" -c 4 -n 2000
    # It closes each connection after 50 requests: what was pipelined behind is asked again.
    load nginx_pipelined "$web/" '0 5' "$no_errors and $all_2xx and r['requests'] == 2000 and
        r['reconnects'] >= 30" -c 4 -n 2000 --pipeline 8
    load nginx_open "$web/" '0 5' "$no_errors and $all_2xx" -c 4 -d 500ms --rate 500 \
        --arrivals poisson
    load nginx_file "$web/file" '0 5' "$no_errors and $all_2xx and
        r['client']['received_bytes'] > 40 * 3000000" -c 4 -n 40 --verify
    load nginx_head "$web/file" '0 5' "$no_errors and $all_2xx" -c 4 -n 200 -X HEAD --pipeline 3
    load nginx_empty "$web/empty" '0 5' "$no_errors and $all_2xx" -c 4 -n 200
    load nginx_same "$web/same" '0 5' "$no_errors and r['status']['3xx']['count'] == 200" -c 4 \
        -n 200
    load nginx_missing "$web/missing" 5 'r["errors"]["status"] == 200' -c 4 -n 200
    load nginx_closed "$web/closed" '0 5' "$no_errors and $all_2xx and r['reconnects'] > 150" \
        -c 4 -n 200
    load nginx_dropped "$web/dropped" 5 'r["errors"]["closed"] > 0 and r["requests"] == 0' -c 2 \
        -d 300ms
    end "$nginx_pid"
else
    skip nginx "it is not installed"
fi

finish
