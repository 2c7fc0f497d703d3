#!/usr/bin/python3
"""An echo server on Python's own event loop or on uvloop: the systems the claims speak of.

    echo_asyncio.py --loop asyncio|uvloop --api protocol|streams --listen ADDR

ADDR is 127.0.0.1:PORT, [::1]:PORT or unix:PATH; port 0 lets the kernel choose. When it is ready it
prints one line, `listening on ADDR`. SIGTERM and SIGINT end it with status 0; 1: it cannot listen;
2: wrong arguments, or uvloop is not installed.

The echo is written as such servers usually are, and as uvloop's own benchmark has it, so that the
loops are measured and not our tricks: receive sizes and write buffers stay at each loop's defaults,
and the protocol has no flow control (a client that never reads makes it grow).

Two things are not as usual, so that the comparison with our own loops is fair: accepted TCP sockets
get TCP_NODELAY and TCP_CONGESTION=reno, as all our sockets do, and the backlog is 1024, as with the
default of 100 a burst of connections is refused and comes back a second later.
"""
import argparse
import asyncio
import contextlib
import os
import signal
import socket
import sys

BACKLOG = 1024
READ_BYTES = 1_000_000  # streams: take all that is there; the reader holds far less


def set_options(sock):
    """The same on every TCP socket of a comparison; unix sockets have neither."""
    if sock.family != socket.AF_UNIX:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"reno")


class EchoProtocol(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport
        set_options(transport.get_extra_info("socket"))

    def data_received(self, data):
        self.transport.write(data)


async def echo_stream(reader, writer):
    set_options(writer.get_extra_info("socket"))
    try:
        while data := await reader.read(READ_BYTES):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass  # the client went away: nothing to answer
    finally:
        writer.close()


async def start_protocol(sock):
    loop = asyncio.get_running_loop()
    start = loop.create_unix_server if sock.family == socket.AF_UNIX else loop.create_server
    return await start(EchoProtocol, sock=sock, backlog=BACKLOG)


async def start_streams(sock):
    start = asyncio.start_unix_server if sock.family == socket.AF_UNIX else asyncio.start_server
    return await start(echo_stream, sock=sock, backlog=BACKLOG)


APIS = {"protocol": start_protocol, "streams": start_streams}


async def serve(sock, api):
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    server = await APIS[api](sock)
    print("listening on", format_address(sock), flush=True)
    await stop.wait()
    server.close()  # open connections end with the process: waiting for them could take for ever


def parse_address(text):
    """(family, address) of what --listen was given; ValueError says what would be right."""
    if text.startswith("unix:") and len(text) > len("unix:"):
        return socket.AF_UNIX, text.removeprefix("unix:")
    host, _, port = text.rpartition(":")
    if not host or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise ValueError(f"'{text}' is not HOST:PORT, [IPV6]:PORT or unix:PATH")
    if host.startswith("[") and host.endswith("]"):
        return socket.AF_INET6, (host[1:-1], int(port))
    if ":" in host:
        raise ValueError(f"'{text}': an IPv6 address needs brackets, as in [::1]:7000")
    return socket.AF_INET, (host, int(port))


def format_address(sock):
    name = sock.getsockname()
    if sock.family == socket.AF_UNIX:
        return "unix:" + name
    return f"[{name[0]}]:{name[1]}" if sock.family == socket.AF_INET6 else f"{name[0]}:{name[1]}"


def remove_stale_socket(path):
    """Only a refused connection proves that nobody listens on a socket file any more."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
        except OSError:
            pass  # not there, or not ours to remove: bind has the message


def bind(family, address):
    sock = socket.socket(family, socket.SOCK_STREAM)
    if family == socket.AF_UNIX:
        remove_stale_socket(address)
    else:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(address)
    sock.setblocking(False)
    return sock


def loop_factory(name):
    if name == "asyncio":
        return asyncio.new_event_loop
    import uvloop  # here, because asyncio must run without it

    return uvloop.new_event_loop


def main():
    parser = argparse.ArgumentParser(description="echo server on asyncio or uvloop")
    parser.add_argument("--loop", required=True, choices=["asyncio", "uvloop"])
    parser.add_argument("--api", default="protocol", choices=sorted(APIS))
    parser.add_argument("--listen", required=True, metavar="ADDR")
    arguments = parser.parse_args()
    try:
        factory = loop_factory(arguments.loop)
        family, address = parse_address(arguments.listen)
    except ImportError as problem:
        parser.error(f"--loop uvloop: {problem}; the Debian package is python3-uvloop")
    except ValueError as problem:
        parser.error(f"--listen: {problem}")

    try:
        sock = bind(family, address)
    except OSError as problem:
        sys.exit(f"cannot listen on {arguments.listen}: {problem}")  # status 1
    try:
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(serve(sock, arguments.api))
    finally:
        if family == socket.AF_UNIX:
            with contextlib.suppress(FileNotFoundError):  # newer Pythons remove it themselves
                os.unlink(address)


if __name__ == "__main__":
    main()
