"""The messages of one try: a repeat over TCP after truncation, one without EDNS where that is refused. No I/O; for
backends whose library leaves these to us.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from resolver import policy as rule

if TYPE_CHECKING:
    from collections.abc import Generator

    from resolver.attempts import Reply


class Step(NamedTuple):
    """What to send next: over what, and with EDNS or not."""

    transport: str
    edns: bool


class Habits:
    """What one lookup has learned about one nameserver: its later tries there begin with that."""

    def __init__(self) -> None:
        self.tcp = False
        self.edns = True


def conversation(transport: str, habits: Habits | None = None) -> Generator[Step, Reply | None, Reply]:
    """Yields what to send, wants what came of it (None: truncated, over UDP), returns the Reply with its queries.

    RFC 2181 section 9: what is truncated is asked again over TCP. RFC 6891 section 7: some rcodes may mean EDNS.
    habits: those of the tries before, which are brought up to date; None: they are not kept.
    """
    habits = habits or Habits()
    queries = 0
    while True:
        heard = yield Step("tcp" if habits.tcp else transport, habits.edns)
        queries += 1 if heard is None else heard.queries
        if heard is None:
            habits.tcp = True
        elif habits.edns and rule.refuses_edns(heard.status):
            habits.edns = False
        else:
            return heard._replace(queries=queries)
