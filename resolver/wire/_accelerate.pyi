from resolver.congestion import Round
from resolver.model import Query, Result
from resolver.wire.inflight import Flow, InFlight

def receive(fd: int, most: int, /) -> tuple[list[bytes], int]: ...
def settle(
    messages: list[bytes],
    in_flight: dict[bytes, InFlight],
    timers: dict[int, InFlight],
    results: list[Result],
    now: float,
    nameserver: str,
    transport: str,
    engine: str,
    /,
) -> tuple[list[bytes], list[tuple[Round, int]], float]: ...
def launch(
    queries: list[Query],
    idents: bytes,
    flow: Flow,
    in_flight: dict[bytes, InFlight],
    timers: dict[int, InFlight],
    round: Round,
    now: float,
    edns: bool,
    head: bytes,
    tail: bytes,
    types: dict[str, bytes],
    /,
) -> tuple[list[bytes], list[Query]]: ...
