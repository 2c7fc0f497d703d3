"""awkward_http.py MANNER ADDR: an HTTP server of one manner, good or bad, for tests of the load.

length        bodies with Content-Length
chunked       bodies in chunks, with an extension and a trailer
until_close   bodies that end with the connection
interim       100 and 103 before each answer
http10        HTTP/1.0: the connection ends behind each answer
said_last     every third answer says `Connection: close`, and what was asked behind it is dropped
idle_close    every third answer is the last, and only the end of the connection says so, later
early         413 to the head of a request, while its body is still being sent and then read on
half_close    half an answer, then the end of the connection
half_reset    half an answer, then a reset
garbage       something else
unasked       two answers to each request
silent        nothing at all
sometimes_503 503 to every tenth request
changing      bodies that differ

ADDR is 127.0.0.1:PORT. Prints `listening on ADDR`.
"""
import asyncio
import os
import re
import socket
import struct
import sys

BODY = b"hello, world\n"


def head(status, *lines, version="1.1"):
    return "\r\n".join([f"HTTP/{version} {status} Words", *lines, "", ""]).encode()


def with_length(status, body, *lines, version="1.1"):
    return head(status, f"Content-Length: {len(body)}", *lines, version=version) + body


PLAIN = with_length(200, BODY)
CHUNKED = (head(200, "Transfer-Encoding: chunked") + b"5;name=value\r\n" + BODY[:5] +
           b"\r\n8\r\n" + BODY[5:] + b"\r\n0\r\nX-Trailer: yes\r\n\r\n")
INTERIM = head(100) + head(103, "Link: </x>") + PLAIN


class Connection(asyncio.Protocol):
    served = 0

    def connection_made(self, transport):
        self.transport = transport
        self.unread = b""
        self.body_left = self.answers = 0
        self.over = False

    def data_received(self, data):
        self.unread += data
        while not self.over:
            if self.body_left > 0:
                taken = min(self.body_left, len(self.unread))
                self.unread = self.unread[taken:]
                self.body_left -= taken
            request, found, rest = self.unread.partition(b"\r\n\r\n")
            if self.body_left > 0 or not found:
                return
            self.unread = rest
            length = re.search(rb"(?im)^content-length: *(\d+)", request)
            self.body_left = int(length.group(1)) if length else 0
            self.answer()

    def finish(self):
        self.over = True
        self.transport.write_eof()  # closed over what was not read, the answer might be lost

    def answer(self):
        manner = sys.argv[1]
        self.answers += 1
        Connection.served += 1
        third = self.answers % 3 == 0
        if manner == "silent":
            return
        self.transport.write({
            "chunked": CHUNKED,
            "until_close": head(200) + BODY,
            "interim": INTERIM,
            "http10": with_length(200, BODY, version="1.0"),
            "said_last": with_length(200, BODY, "Connection: close") if third else PLAIN,
            "early": with_length(413, b"too much"),
            "half_close": PLAIN[:-4],
            "half_reset": PLAIN[:-4],
            "garbage": b"220 mail.example.com ESMTP\r\n",
            "unasked": PLAIN * 2,
            "sometimes_503": with_length(503, b"") if Connection.served % 10 == 0 else PLAIN,
            "changing": with_length(200, b"%d" % (Connection.served % 10)),
        }.get(manner, PLAIN))
        if manner in ("until_close", "http10", "half_close") or (manner == "said_last" and third):
            self.finish()
        elif manner == "half_reset":
            self.over = True
            linger = struct.pack("ii", 1, 0)  # on, for no time: close(2) resets
            self.transport.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.transport.abort()
        elif manner == "idle_close" and third:
            self.over = True
            asyncio.get_running_loop().call_later(0.02, self.transport.close)


async def serve():
    host, _, port = sys.argv[2].rpartition(":")
    loop = asyncio.get_running_loop()
    try:
        server = await loop.create_server(Connection, host, int(port), backlog=1024)
    except OSError as error:
        sys.exit(f"cannot listen on {sys.argv[2]}: {os.strerror(error.errno)}")
    print("listening on {}:{}".format(*server.sockets[0].getsockname()), flush=True)
    await server.serve_forever()


asyncio.run(serve())
