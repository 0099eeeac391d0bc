"""The peers of `benchmarks.peers`, each driven the best way that is known for it, each run in a process of its own.

`python -m benchmarks.peer_lookups NAME HOSTS PORT OUTPUT` looks up the hosts of a list at the nameserver on that port
of 127.0.0.1, writes `name address` a line for each that was answered, and prints the seconds it took, from the first
query to the closed file. Start-up and imports are left out, in the peers' favour: a peer gets fewer hosts than we do.

The functions import what they drive. Caches are off: each name is asked once anyway.
"""

import asyncio
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.nameserver import LOOPBACK

Answer = tuple[str, str]
Lookup = Callable[[list[str], int], Iterable[Answer]]

AIODNS_GATHER = 300
THREADS = 50
GREENLETS = 300
BLASTDNS_IN_FLIGHT = 32  # the most that one of its persistent sockets takes
PRESOLV_IN_FLIGHT = 300


def aiodns(hosts: list[str], port: int) -> Iterable[Answer]:
    """asyncio.gather over 300 queries at a time."""
    from aiodns import DNSResolver

    async def ask_all() -> list[Answer]:
        resolver = DNSResolver(nameservers=[LOOPBACK], udp_port=port, tcp_port=port)
        answers = []
        for begin in range(0, len(hosts), AIODNS_GATHER):
            chunk = hosts[begin : begin + AIODNS_GATHER]
            replies: list[Any] = await asyncio.gather(
                *(resolver.query_dns(host, "A") for host in chunk), return_exceptions=True
            )
            answers += [
                (host, record.data.addr)
                for host, reply in zip(chunk, replies, strict=True)
                if not isinstance(reply, BaseException)
                for record in reply.answer
            ]
        await resolver.close()
        return answers

    return asyncio.run(ask_all())


def dnspython_threads(hosts: list[str], port: int) -> Iterable[Answer]:
    """One shared dns.resolver.Resolver in 50 threads."""
    ask = _dnspython(port)
    with ThreadPoolExecutor(THREADS) as pool:
        return [answer for answer in pool.map(ask, hosts) if answer is not None]


def dnspython_gevent(hosts: list[str], port: int) -> Iterable[Answer]:
    """The same resolver in a gevent pool, with the standard library patched before dnspython is imported."""
    import_module("gevent.monkey").patch_all()
    pool = import_module("gevent.pool").Pool(GREENLETS)
    return [answer for answer in pool.imap_unordered(_dnspython(port), hosts) if answer is not None]


def blastdns(hosts: list[str], port: int) -> Iterable[Answer]:
    """resolve_batch, which gives plain tuples, over one persistent socket and without its own pacing."""
    library = import_module("blastdns")
    config = library.ClientConfig(
        max_concurrency=BLASTDNS_IN_FLIGHT,
        max_inflight_per_resolver=BLASTDNS_IN_FLIGHT,
        persistent_socket=True,
        adaptive=False,
        cache_capacity=0,
    )

    async def ask_all() -> list[Answer]:
        client = library.Client([f"{LOOPBACK}:{port}"], config)
        return [(host, data) async for host, _, answers in client.resolve_batch(hosts, "A") for data in answers]

    return asyncio.run(ask_all())


def presolv(hosts: list[str], port: int) -> Iterator[Answer]:
    """Messages made by dnspython go in, messages parsed by dnspython come out: presolv has no other way."""
    library = import_module("presolv")
    from dns.message import make_query

    questions = (library.Query(make_query(host, "A")) for host in hosts)
    settings = {"concurrency": PRESOLV_IN_FLIGHT, "pool_size": PRESOLV_IN_FLIGHT}
    with library.Resolver(nameservers=[(LOOPBACK, port)], **settings) as resolver:
        for result in resolver.resolve(questions):
            rrsets = result.response.answer if result.error is None else []
            yield from ((hosts[result.index], rdata.to_text()) for rrset in rrsets for rdata in rrset)


LOOKUPS: dict[str, Lookup] = {
    "aiodns": aiodns,
    "dnspython-threads": dnspython_threads,
    "dnspython-gevent": dnspython_gevent,
    "blastdns": blastdns,
    "presolv": presolv,
}


def _dnspython(port: int) -> Callable[[str], Answer | None]:
    from dns.exception import DNSException
    from dns.resolver import Resolver

    resolver = Resolver(configure=False)
    resolver.nameservers = [LOOPBACK]
    resolver.port = port

    def ask(host: str) -> Answer | None:
        try:
            return host, resolver.resolve(host, "A")[0].to_text()
        except DNSException:
            return None

    return ask


def main() -> None:
    name, hosts_file, port, output = sys.argv[1:]
    hosts = Path(hosts_file).read_text().split()
    began = time.perf_counter()
    with Path(output).open("w") as out:
        out.writelines(f"{host} {address}\n" for host, address in LOOKUPS[name](hosts, int(port)))
    print(time.perf_counter() - began)


if __name__ == "__main__":
    main()
