"""faulty_server.py FAULT ADDR: an echo server with one fault, for the tests of the load.

none    every byte comes back
wrong   the last byte of what is received comes back changed
twice   all comes back twice
close   after the first answer each connection is closed
silent  nothing ever comes back
reset   half of the first message comes back, then the connection is reset

ADDR is 127.0.0.1:PORT. Prints `listening on ADDR`. Further arguments are ignored.
"""
import asyncio
import os
import sys


class Connection(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        fault = sys.argv[1]
        if fault == "wrong":
            data = data[:-1] + bytes([data[-1] ^ 1])
        elif fault == "twice":
            data += data
        elif fault == "reset":
            data = data[: len(data) // 2]
        if fault != "silent":
            self.transport.write(data)
        if fault == "close":
            self.transport.close()
        elif fault == "reset":
            self.transport.abort()


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
