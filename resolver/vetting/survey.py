"""The questions to every nameserver of a list, and the runs that ask them: only who answers is asked further.

Nothing is asked that would need the internet: without zones of the user's, the questions are about the root, which
every recursive nameserver knows, and about names that can never exist (RFC 6761 section 6.4).
"""

from __future__ import annotations

import secrets
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

import msgspec

from resolver.api import resolve
from resolver.model import Result, Status
from resolver.nameserver import Nameserver, parse_all
from resolver.vetting.verdict import is_heard, judge

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from resolver.vetting.verdict import Question, Verdict

ROOT_TYPES = ("SOA", "NS")
ZONE_TYPES = ("A", "NS")
RESERVED = "invalid"  # no name below it exists (RFC 6761 section 6.4)
MISSING = 2  # names that cannot exist, for each zone


def survey(
    nameservers: Iterable[str | Nameserver] | str,
    *,
    zones: Sequence[str] = (),
    trusted: Iterable[str | Nameserver] | str = (),
    **keywords: Any,
) -> list[Verdict]:
    """Ask every nameserver a few questions, and return what was found of each, in their order.

    Args:
        nameservers: As `resolve` takes them.
        zones: Names that exist; they, and random names below them, are asked. Empty: the root is. Names below
            `invalid.` are asked where nobody is trusted.
        trusted: Nameservers whose answers are right.
        **keywords: As `resolve` takes them: engine, query_timeout, tries, rate, …

    Raises:
        ValueError: There is no nameserver, or no trusted one answers.
        TypeError, LookupError, OSError: As `resolve` raises them.
    """
    servers = parse_all((nameservers,) if isinstance(nameservers, str) else nameservers)
    if not servers:
        raise ValueError("no nameserver was given")
    known, types = (list(zones), ZONE_TYPES) if zones else (["."], ROOT_TYPES)
    above = zones if trusted and zones else [*zones, RESERVED]
    missing = [f"{secrets.token_hex(8)}.{zone.removesuffix('.')}" for zone in above for _ in range(MISSING)]
    truth: dict[Question, Result] = {}
    if trusted:
        said = [*resolve(known, types=types, nameservers=trusted, **keywords)]
        said += resolve(missing, nameservers=trusted, **keywords)
        truth = {(result.name or "", result.type): result for result in said if result.answered}
        if not truth:
            raise ValueError("no trusted nameserver answers; there is nothing to compare with")
    keywords |= {"detail": True, "dnssec": True, "each_nameserver": True}
    first = _ask(known[:1], types[:1], servers, keywords)
    heard = [server for server in servers if any(map(is_heard, first[str(server)]))]
    others = _ask(known, types, heard, keywords)
    invented = _ask(missing, ("A",), heard, keywords)
    if zones and not trusted:
        _leave_out_wildcards(invented, len(heard))
    over_udp = [server for server in heard if server.transport == "udp"]
    streams = [msgspec.structs.replace(server, transport="tcp") for server in over_udp]
    tcp = _ask(known[:1], types[:1], streams, keywords)
    return [
        judge(name, [*first[name], *others[name]], invented[name], truth, next(iter(tcp[name]), None))
        for name in map(str, servers)
    ]


def _ask(
    names: Sequence[str], types: Sequence[str], servers: Sequence[Nameserver], keywords: dict[str, Any]
) -> defaultdict[str, list[Result]]:
    """Ask each of these nameservers each question, once; returns the results by nameserver."""
    found: defaultdict[str, list[Result]] = defaultdict(list)
    if servers:
        for result in resolve(names, types=types, nameservers=list(dict.fromkeys(servers)), **keywords):
            found[result.nameserver or ""].append(result)
    return found


def _leave_out_wildcards(invented: dict[str, list[Result]], servers: int) -> None:
    """Drop the results for names that most nameservers have: a zone may have a wildcard."""
    made = Counter(each.name for found in invented.values() for each in found if each.status is Status.NOERROR)
    for found in invented.values():
        found[:] = [each for each in found if 2 * made[each.name] <= servers or each.input.endswith(f".{RESERVED}")]
