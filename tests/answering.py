"""A nameserver over UDP that answers as a function tells it, in a thread of the test's own program."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import dns.message
import dns.rcode
import dns.rrset
from scripted import HOST

# Of an absolute name in lower case: a status, then type and data of each record.
Answer = Callable[[str], tuple[Any, ...]]


@contextmanager
def answering(answer: Answer, *, edns: bool = True) -> Iterator[str]:
    """Answer queries for A so until the block is left, with EDNS where they have it; yields ADDR:PORT."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind((HOST, 0))
        thread = threading.Thread(target=_serve, args=(udp, answer, edns), daemon=True)
        thread.start()
        address = udp.getsockname()
        yield f"{HOST}:{address[1]}"
        udp.sendto(b"", address)
        thread.join()


def _serve(udp: socket.socket, answer: Answer, edns: bool) -> None:
    while (received := udp.recvfrom(2048))[0]:
        octets, peer = received
        reply = dns.message.make_response(dns.message.from_wire(octets), recursion_available=True)
        if not edns:
            reply.use_edns(False)
        owner = reply.question[0].name
        status, *records = answer(owner.to_text().lower())
        reply.set_rcode(dns.rcode.from_text(str(status)))
        for kind, data in records:
            rrset = dns.rrset.from_text(owner, 300, "IN", kind, data)
            reply.answer.append(rrset)
            if kind == "CNAME":
                owner = rrset[0].target
        udp.sendto(reply.to_wire(), peer)
