#!/bin/bash
# `load` on https: nginx and `openssl s_server`, with certificates made here; and whom it refuses.
# shellcheck source=tests/end_to_end/library.bash
. "$(dirname "$0")/library.bash"

quick=(--warmup 20ms --timeout 20s --quiet --json)
no_errors='sum(r["errors"].values()) == 0'
all_2xx='r["status"]["2xx"]["count"] == r["requests"] > 0'

if "$LOOPMARK" load https://127.0.0.1:1/ -n 1 -q 2>&1 | grep -q 'not built'; then
    skip load_https "built without OpenSSL"
    finish
fi
if ! command -v openssl >/dev/null; then
    skip load_https "openssl is missing"
    finish
fi

# load NAME URL STATUSES CONDITION ARGUMENTS: what `load` says of URL
load() {
    local name=$1 target=$2 statuses=$3 condition=$4
    shift 4
    expect "$name/status" "$statuses" '' load "$target" "${quick[@]}" "$@" &&
        record "$name" load out "$condition"
}

# ---- certificates --------------------------------------------------------------------------------

# authority NAME: NAME.pem and NAME.key
authority() {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj "/CN=$1" \
        -keyout "$1.key" -out "$1.pem" 2>openssl.err
}
authority ca && authority other &&
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=localhost \
        -keyout server.key -out server.request 2>openssl.err &&
    openssl x509 -req -in server.request -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 \
        -extfile <(echo subjectAltName=DNS:localhost,IP:127.0.0.1) -out server.pem 2>openssl.err
result certificates_made $? "$(tail -n 1 openssl.err)"

# ---- bad arguments -------------------------------------------------------------------------------

refused insecure_without_tls '--insecure is of https' load http://127.0.0.1:1/ --insecure
refused cacert_without_tls '--cacert is of https' load tcp://127.0.0.1:1 --cacert ca.pem
refused cacert_and_insecure 'not both' load https://127.0.0.1:1/ --cacert ca.pem --insecure
refused cacert_missing 'nowhere.pem.*No such file' load https://127.0.0.1:1/ --cacert nowhere.pem
refused cacert_without_certificate 'server.key' load https://127.0.0.1:1/ --cacert server.key

# ---- nginx ---------------------------------------------------------------------------------------

# A free port, which nginx cannot choose itself.
free_port() {
    "$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0))
print(s.getsockname()[1])'
}

# start_nginx VERSION: on port $port; sets nginx_pid
start_nginx() {
    port=$(free_port)
    cat >nginx.conf <<CONFIGURATION
daemon off; worker_processes 1; pid nginx.pid; error_log nginx.log; master_process off;
events { worker_connections 256; }
http {
    access_log off;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi; scgi_temp_path scgi;
    keepalive_requests 50;
    ssl_certificate $folder/server.pem;
    ssl_certificate_key $folder/server.key;
    ssl_protocols $1;
    server {
        listen 127.0.0.1:$port ssl;
        listen 127.0.0.2:$port ssl;
        listen unix:$folder/nginx.sock ssl;
        root $folder;
        location / { return 200 "hello\n"; }
        location /file { alias $folder/big; }
        location /closed { keepalive_timeout 0; return 200 "bye\n"; }
    }
}
CONFIGURATION
    rm -f nginx.sock
    "$nginx" -p "$folder" -c "$folder/nginx.conf" 2>nginx.err &
    nginx_pid=$!
    children+=("$nginx_pid")
    await 10 test -S nginx.sock
}

# with_nginx VERSION NAME: the loads that have to go well
with_nginx() {
    local web agreed="r['tls']['version'] == '$2' and r['tls']['protocol'] == 'http/1.1'"
    local good="$no_errors and $all_2xx and $agreed"
    start_nginx "$1"
    result "$1_started" $? "$(tail -n 1 nginx.err)"
    web=https://127.0.0.1:$port
    load "$1" "$web/" '0 5' "$good and r['requests'] == 1000" -c 4 -n 1000 --cacert ca.pem
    # It closes each connection after 50 requests: what was pipelined behind is asked again. Where
    # that was on its way already, closing over it resets the connection, and answers may be lost:
    # a reset to who reads then, closed (EPIPE) to who sends.
    load "$1_pipelined" "https://localhost:$port/" '0 5' "$all_2xx and $agreed and
        sum(n for kind, n in r['errors'].items() if kind not in ('reset', 'closed')) == 0 and
        r['reconnects'] >= 10" -c 4 -n 1000 --pipeline 8 --cacert ca.pem
    load "$1_open" "$web/" '0 5' "$good" -c 4 -d 500ms --rate 500 --cacert ca.pem
    load "$1_file" "$web/file" '0 5' "$good and r['client']['received_bytes'] > 20 * 3000000" \
        -c 4 -n 20 --verify --cacert ca.pem
    load "$1_closed" "$web/closed" '0 5' "$good and r['reconnects'] > 50" -c 4 -n 100 \
        --cacert ca.pem
    load "$1_insecure" "$web/" '0 5' "$good" -c 2 -n 100 -t 2 --insecure
    load "$1_unix" "https://unix:$folder/nginx.sock:/" '0 5' "$good" -c 2 -n 100 --cacert ca.pem
    # Nobody here is trusted by default, nor by another authority.
    expect "$1_untrusted" 1 'unable to get local issuer certificate' load "$web/" -n 10 -q
    expect "$1_other_ca" 1 'unable to get local issuer certificate' load "$web/" -n 10 -q \
        --cacert other.pem
    expect "$1_wrong_host" 1 'IP address mismatch' load "https://127.0.0.2:$port/" -n 10 -q \
        --cacert ca.pem
    # A port that wants TLS gets none.
    load "$1_without_tls" "http://127.0.0.1:$port/" 5 'r["errors"]["status"] == 10' -n 10 -c 1
    end "$nginx_pid"
}

if nginx=$(PATH=$PATH:/usr/sbin command -v nginx); then
    head -c 3000001 /dev/urandom >big
    with_nginx TLSv1.3 TLSv1.3
    with_nginx TLSv1.2 TLSv1.2
else
    skip nginx "it is not installed"
fi

# ---- openssl s_server ----------------------------------------------------------------------------

# It closes each connection after its answer; -www answers every GET with a page.
port=$(free_port)
openssl s_server -quiet -accept "127.0.0.1:$port" -cert server.pem -key server.key -www \
    >s_server.out 2>&1 &
s_server_pid=$!
children+=("$s_server_pid")
# shellcheck disable=SC2317 # await calls it
s_server_answers() { curl -s --cacert ca.pem -o page "https://localhost:$port/"; }
if ! command -v curl >/dev/null; then
    skip s_server "curl is missing"
elif await 10 s_server_answers; then
    load s_server "https://localhost:$port/" '0 5' "$no_errors and $all_2xx and
        r['requests'] == 20" -c 1 -n 20 --cacert ca.pem
else
    not_ok s_server "it did not start: $(tail -n 1 s_server.out)"
fi
end "$s_server_pid"

# A server that speaks no TLS.
if start awkward "$python" "$here/awkward_http.py" length 127.0.0.1:0; then
    expect plain_server 1 'does not speak TLS|timeout|during the handshake' load \
        "https://$address/" -n 10 -q --insecure --connect-timeout 1s
    end "$server_pid"
else
    not_ok plain_server "did not start: $(tail -n 1 awkward.err)"
fi

finish
