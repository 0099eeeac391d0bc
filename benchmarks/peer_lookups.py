"""The peers of `benchmarks.peers` and `benchmarks.stubs`, each driven the best way that is known for it, each run in a
process of its own.

`python -m benchmarks.peer_lookups NAME HOSTS PORT OUTPUT` looks up the hosts of a list at the nameserver on that port
of 127.0.0.1, writes `name address` a line for each that was answered, and prints the seconds that it took, by the clock
and of the processor, from the first query to the closed file. NAME is one of `LOOKUPS`, or `resolve:ENGINE:BACKEND` for
ours, through the library.

The functions import and set up what they drive, and return what looks the hosts up: start-up does not count. Caches are
off: each name is asked once anyway.
"""

import asyncio
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.nameserver import LOOPBACK

Answer = tuple[str, str]
Lookup = Callable[[list[str]], Iterable[Answer]]

OURS = "resolve"
AIODNS_IN_FLIGHT = 300
THREADS = 50
GREENLETS = 300
COROUTINES = 100  # of more, each waits for the interpreter longer than for its reply
TWISTED_IN_FLIGHT = 100
BLASTDNS_IN_FLIGHT = 32  # the most that one of its persistent sockets takes
PRESOLV_IN_FLIGHT = 300
TIMEOUT, TRIES = 2.0, 3  # seconds, and how often, where that is left to the caller


def ours(pair: list[str], port: int) -> Lookup:
    """The library with its default settings, and its results of every field."""
    engine, backend = pair
    if engine == "gevent":
        import_module("gevent.monkey").patch_all()
    from resolver import engines, resolve

    engines.find(engine, backend)

    def ask_all(hosts: list[str]) -> Iterator[Answer]:
        run = resolve(hosts, engine=engine, backend=backend, nameservers=f"{LOOPBACK}:{port}")
        return ((result.input, address) for result in run for address in result.addresses)

    return ask_all


def aiodns(port: int) -> Lookup:
    """A DNSResolver, and 300 coroutines that ask it one thing after the other."""
    from aiodns import DNSResolver
    from aiodns.error import DNSError

    async def ask_all(hosts: list[str]) -> list[Answer]:
        resolver = DNSResolver(nameservers=[LOOPBACK], udp_port=port, tcp_port=port)

        async def ask(host: str) -> Answer | None:
            try:
                reply: Any = await resolver.query_dns(host, "A")
            except DNSError:
                return None
            return host, reply.answer[0].data.addr

        answers = await _by_coroutines(ask, hosts, AIODNS_IN_FLIGHT)
        await resolver.close()
        return answers

    return lambda hosts: asyncio.run(ask_all(hosts))


def dnspython_threads(port: int) -> Lookup:
    """dns.query.udp in 50 threads: dns.resolver does the same, and more around it that takes its time."""
    ask = _dnspython(port)

    def ask_all(hosts: list[str]) -> Iterable[Answer]:
        with ThreadPoolExecutor(THREADS) as pool:
            return [answer for answer in pool.map(ask, hosts) if answer is not None]

    return ask_all


def dnspython_gevent(port: int) -> Lookup:
    """The same in a gevent pool, with the standard library patched before dnspython is imported."""
    import_module("gevent.monkey").patch_all()
    pool = import_module("gevent.pool").Pool(GREENLETS)
    ask = _dnspython(port)
    return lambda hosts: [answer for answer in pool.imap_unordered(ask, hosts) if answer is not None]


def dnspython_asyncio(port: int) -> Lookup:
    """dns.asyncquery.udp in 100 coroutines."""
    import dns.asyncquery
    import dns.message
    from dns.exception import DNSException

    async def ask(host: str) -> Answer | None:
        query = dns.message.make_query(host, "A")
        for _ in range(TRIES):
            try:
                reply = await dns.asyncquery.udp(query, LOOPBACK, TIMEOUT, port)
            except DNSException:
                continue
            return host, reply.answer[0][0].to_text()
        return None

    return lambda hosts: asyncio.run(_by_coroutines(ask, hosts, COROUTINES))


def twisted(port: int) -> Lookup:
    """twisted.names.client.Resolver on the global reactor, and 100 coroutines that ask it one thing after the other."""
    defer: Any = import_module("twisted.internet.defer")
    reactor: Any = import_module("twisted.internet.reactor")
    resolver: Any = import_module("twisted.names.client").Resolver(servers=[(LOOPBACK, port)])
    failures: Any = import_module("twisted.names.error")

    def ask_all(hosts: list[str]) -> list[Answer]:
        answers: list[Answer] = []
        rest = iter(hosts)

        async def work() -> None:
            for host in rest:
                try:
                    records, _, _ = await resolver.lookupAddress(host)
                except (failures.DomainError, failures.ResolverError, defer.TimeoutError):
                    continue
                answers.append((host, records[0].payload.dottedQuad()))

        async def work_all() -> None:
            await defer.gatherResults([defer.ensureDeferred(work()) for _ in range(TWISTED_IN_FLIGHT)])
            reactor.stop()

        reactor.callWhenRunning(defer.ensureDeferred, work_all())
        reactor.run()
        return answers

    return ask_all


def blastdns(port: int) -> Lookup:
    """resolve_batch, which gives plain tuples, over one persistent socket and without its own pacing."""
    library = import_module("blastdns")
    config = library.ClientConfig(
        max_concurrency=BLASTDNS_IN_FLIGHT,
        max_inflight_per_resolver=BLASTDNS_IN_FLIGHT,
        persistent_socket=True,
        adaptive=False,
        cache_capacity=0,
    )

    async def ask_all(hosts: list[str]) -> list[Answer]:
        client = library.Client([f"{LOOPBACK}:{port}"], config)
        return [(host, data) async for host, _, answers in client.resolve_batch(hosts, "A") for data in answers]

    return lambda hosts: asyncio.run(ask_all(hosts))


def presolv(port: int) -> Lookup:
    """Messages made by dnspython go in, messages parsed by dnspython come out: presolv has no other way."""
    library = import_module("presolv")
    from dns.message import make_query

    settings = {"concurrency": PRESOLV_IN_FLIGHT, "pool_size": PRESOLV_IN_FLIGHT}

    def ask_all(hosts: list[str]) -> Iterator[Answer]:
        questions = (library.Query(make_query(host, "A")) for host in hosts)
        with library.Resolver(nameservers=[(LOOPBACK, port)], **settings) as resolver:
            for result in resolver.resolve(questions):
                rrsets = result.response.answer if result.error is None else []
                yield from ((hosts[result.index], rdata.to_text()) for rrset in rrsets for rdata in rrset)

    return ask_all


LOOKUPS: dict[str, Callable[[int], Lookup]] = {
    "aiodns": aiodns,
    "dnspython-threads": dnspython_threads,
    "dnspython-gevent": dnspython_gevent,
    "dnspython-asyncio": dnspython_asyncio,
    "twisted": twisted,
    "blastdns": blastdns,
    "presolv": presolv,
}


async def _by_coroutines(ask: Callable[[str], Any], hosts: list[str], most: int) -> list[Answer]:
    """Run so many coroutines, each of which asks for the next host when it has the answer to its last one."""
    rest = iter(hosts)

    async def work() -> list[Answer]:
        return [answer for host in rest if (answer := await ask(host)) is not None]

    return [answer for answers in await asyncio.gather(*(work() for _ in range(most))) for answer in answers]


def _dnspython(port: int) -> Callable[[str], Answer | None]:
    import dns.message
    import dns.query
    from dns.exception import DNSException

    def ask(host: str) -> Answer | None:
        query = dns.message.make_query(host, "A")
        for _ in range(TRIES):
            try:
                reply = dns.query.udp(query, LOOPBACK, TIMEOUT, port)
            except DNSException:
                continue
            return host, reply.answer[0][0].to_text()
        return None

    return ask


def prepared(name: str, port: int) -> Lookup:
    """Return what looks hosts up under this name, ready to begin."""
    kind, *pair = name.split(":")
    prepare = partial(ours, pair) if kind == OURS else LOOKUPS[name]
    return prepare(port)


def main() -> None:
    name, hosts_file, port, output = sys.argv[1:]
    hosts = Path(hosts_file).read_text().split()
    look_up = prepared(name, int(port))
    began, used = time.perf_counter(), time.process_time()
    with Path(output).open("w") as out:
        out.writelines(f"{host} {address}\n" for host, address in look_up(hosts))
    print(time.perf_counter() - began, time.process_time() - used)


if __name__ == "__main__":
    main()
