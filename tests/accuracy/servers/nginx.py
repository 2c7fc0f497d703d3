"""nginx.py --listen 127.0.0.1:0: nginx in one process, as a server for the timing oracles.

This process becomes nginx, so that its id is nginx's; a child of it prints `listening on ADDR` when
nginx does, and ends. nginx's files go to $TMPDIR, for the caller to remove."""
import os
import socket
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "..", "performance"))
from generators import ANSWER, CONFIGURATION, free_port  # noqa: E402

NGINX = "/usr/sbin/nginx"
STARTS_WITHIN_S = 5


def announce(host, port):
    end = time.monotonic() + STARTS_WITHIN_S
    while time.monotonic() < end:
        try:
            socket.create_connection((host, port), 1).close()
            print(f"listening on {host}:{port}", flush=True)
            return
        except OSError:
            time.sleep(0.02)


def main():
    if sys.argv[1:] != ["--listen", "127.0.0.1:0"]:
        raise SystemExit(__doc__)
    port, folder = free_port(), tempfile.mkdtemp()
    path = os.path.join(folder, "nginx.conf")
    with open(path, "w", encoding="utf-8") as file:
        file.write(CONFIGURATION.format(folder=folder, port=port, answer=ANSWER))
    if os.fork() == 0:
        announce("127.0.0.1", port)
        os._exit(0)
    os.execv(NGINX, [NGINX, "-p", folder, "-c", path])


main()
