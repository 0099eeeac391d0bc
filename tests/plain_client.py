"""A client that asks over TCP with a connection for each question: safe from whatever befalls one, and simple."""

import asyncio
import os
import time
from collections import Counter
from collections.abc import Iterator

from scripted import HOST


def plain_client(hosts: list[str], port: int, seconds: float, at_once: int = 100) -> tuple[Counter[str], float]:
    """Ask over TCP, a connection for each question and so many at once; what they ended as, and the seconds it took."""
    return asyncio.run(_plain_client(iter(hosts), port, seconds, at_once))


async def _plain_client(hosts: Iterator[str], port: int, seconds: float, at_once: int) -> tuple[Counter[str], float]:
    ended: Counter[str] = Counter()
    began = time.monotonic()

    async def work() -> None:
        for host in hosts:
            try:
                async with asyncio.timeout(seconds):
                    ended[await _ask_plainly(host, port)] += 1
            except TimeoutError:
                ended["TIMEOUT"] += 1
            except (OSError, asyncio.IncompleteReadError):
                ended["ERROR"] += 1

    await asyncio.gather(*(work() for _ in range(at_once)))
    return ended, time.monotonic() - began


async def _ask_plainly(host: str, port: int) -> str:
    labels = b"".join(bytes((len(label),)) + label.encode() for label in host.split("."))
    query = os.urandom(2) + b"\1\0\0\1\0\0\0\0\0\0" + labels + b"\0\0\1\0\1"
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        writer.write(len(query).to_bytes(2) + query)
        while True:
            reply = await reader.readexactly(int.from_bytes(await reader.readexactly(2)))
            if reply[:2] == query[:2] and reply[12 : len(query)] == query[12:]:
                return "NOERROR"
    finally:
        writer.close()
