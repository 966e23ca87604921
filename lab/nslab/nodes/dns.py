"""The lab's resolver: knows the nodes' names and refuses every other name at once.

Without it CoreDNS and the nodes would ask the machine's resolver, and names of the outside world
would leave the lab or hang until a time-out. Runs as `python3 dns.py ADDRESS NAME=ADDRESS…`.
"""

from __future__ import annotations

import socketserver
import struct
import sys
import threading
from ipaddress import IPv4Address

_TYPE_A, _CLASS_IN, _NXDOMAIN = 1, 1, 3
_HEADER = struct.Struct("!6H")
_TIME_TO_LIVE = 30  # seconds


def question_of(query: bytes) -> tuple[str, int, bytes]:
    """Return name (lower case, no final dot), type and raw question section of a DNS query."""
    labels, position = [], _HEADER.size
    while length := query[position]:
        labels.append(query[position + 1 : position + 1 + length].decode("ascii", "replace"))
        position += 1 + length
    (kind,) = struct.unpack_from("!H", query, position + 1)
    return ".".join(labels).lower(), kind, query[_HEADER.size : position + 5]


def answer(query: bytes, known: dict[str, IPv4Address]) -> bytes:
    """Return the reply to one DNS query: the address, an empty answer, or "no such name"."""
    identifier, flags, *_ = _HEADER.unpack_from(query)
    name, kind, question = question_of(query)
    address = known.get(name)
    # response, authoritative, recursion available; the query's "recursion desired" is kept
    reply_flags = 0x8480 | (flags & 0x0100) | (0 if address else _NXDOMAIN)
    records = b""
    if address and kind == _TYPE_A:
        # 0xC00C points back at the name in the question
        records = struct.pack("!HHHIH", 0xC00C, _TYPE_A, _CLASS_IN, _TIME_TO_LIVE, 4) + address.packed
    return _HEADER.pack(identifier, reply_flags, 1, 1 if records else 0, 0, 0) + question + records


class _Udp(socketserver.BaseRequestHandler):
    known: dict[str, IPv4Address]

    def handle(self) -> None:
        query, socket = self.request
        try:
            socket.sendto(answer(query, self.known), self.client_address)
        except (IndexError, struct.error):
            return  # not a DNS query


class _Tcp(socketserver.StreamRequestHandler):
    known: dict[str, IPv4Address]

    def handle(self) -> None:
        prefix = self.rfile.read(2)
        if len(prefix) < 2:
            return
        try:
            reply = answer(self.rfile.read(struct.unpack("!H", prefix)[0]), self.known)
        except (IndexError, struct.error):
            return  # not a DNS query
        self.wfile.write(struct.pack("!H", len(reply)) + reply)


class _Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    allow_reuse_address = True
    daemon_threads = True


def main(arguments: list[str]) -> None:
    """Serve for ever on port 53 of the first argument, UDP and TCP."""
    listen, *names = arguments
    known = {name: IPv4Address(address) for name, address in (entry.split("=") for entry in names)}
    _Udp.known = _Tcp.known = known
    tcp = _Server((listen, 53), _Tcp)
    threading.Thread(target=tcp.serve_forever, daemon=True).start()
    with socketserver.ThreadingUDPServer((listen, 53), _Udp) as udp:
        udp.serve_forever()


if __name__ == "__main__":
    main(sys.argv[1:])
