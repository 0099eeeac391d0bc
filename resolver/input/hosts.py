"""Input of a run: sources of hosts in order -> Query, or an INVALID Result, numbered in input order.

`Hosts.take` gives the next few lookups and never waits: a pipe or terminal that is silent gives none for now. What it
reads from stands in `sources`, what a host may look like in `names`.

A take is bounded, in what it gives and in what it reads, however long the comments or lines of the input are: the
engine has replies to see to.
"""

from __future__ import annotations

import select
import threading
from itertools import islice, repeat
from typing import TYPE_CHECKING

from resolver.blocks import HostLines
from resolver.input.groups import HostBlock, are_plain, cut, groups_of_lines
from resolver.model import Query, Status

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from resolver.input.lookups import HostGroup, Row
    from resolver.input.prefix import Prefix
    from resolver.input.sources import Source
    from resolver.model import Result

_EMPTY_BLOCKS = 8  # blocks without a host that one take reads at most


class Hosts:
    """Lookups of a run, in input order: each host of each source, for each type.

    Args:
        sources: The lists and hosts.
        types: The record types that are asked.
        engine, backend: Names, which only go into the INVALID results.
        prefix: Labels before each name.
        keep: Rows of CSV are kept.
        variants: The lookups of each host and type, as Policy has them: the same question to each nameserver, or for
            each subnet.

    Attributes:
        hosts_read: Hosts given out so far: lines and elements that were neither blank nor a comment.
        lookups: Indices given out so far, of queries and INVALID results alike.
        silent: The last take found a source that has nothing right now.
        rows: The rows of lookups given out, by index, where they are kept; to be taken out with each result.
    """

    passed_over = 0  # lookups that were, as a LookupSource counts them

    def __init__(
        self,
        sources: Sequence[Source],
        types: Sequence[str],
        engine: str,
        backend: str,
        *,
        prefix: Prefix | None = None,
        keep: bool = False,
        variants: Sequence[tuple[int | None, int]] = ((None, 0),),
    ) -> None:
        self._prefix = prefix
        self._variants = variants
        self._alike = tuple(variants) == ((None, 0),)  # each lookup is one of any nameserver's
        self.rows: dict[int, Row] | None = {} if keep else None
        self._sources = list(sources)
        self._at = 0  # the source that is read now
        self._types = tuple(types)
        self._block = HostBlock(0, 0, iter(()))  # what it gave last
        self._group: HostGroup | None = None  # what of that is given out now,
        self._lines: HostLines | None = None  # or lines of that which are given out as they are
        self._by_line = False  # lines are asked for: a take ends with its block, as the next may be plain
        self._begun = 0  # hosts given out before the block
        self._done = 0  # octets and hosts read
        self._engine = engine
        self._backend = backend
        self.silent = False
        self._taking = threading.Lock()
        self.hosts_read = 0
        self.lookups = 0

    def take(self, n: int) -> tuple[list[Query], list[Result]] | None:
        """Take the next lookups, `n` at most: those to ask, and the results of those that cannot be asked.

        Two empty lists: there is nothing right now; call again at once or, where `silent`, a little later.
        The same while another take is under way: gevent's select and a caller's iterator may let others run.
        None: the input is at its end. Raises OSError where reading fails, and TypeError for an element that is no
        host; the run cannot go on then.
        """
        if not self._taking.acquire(blocking=False):
            return [], []
        try:
            return self._take(n)
        finally:
            self._taking.release()

    def batches(self) -> Iterator[tuple[list[Query], list[Result]]]:
        """Yield what `take` gives, to the end of the input, and wait where there is nothing yet. Raises as it does."""
        while (taken := self.take(1000)) is not None:
            yield taken
            if self.silent and (fd := self.waitable()) is not None:
                select.select([fd], [], [])

    def take_lines(self, n: int) -> HostLines | None:
        """Take the next lookups, `n` at most, as the lines that they stand in; None: ask `take`."""
        if len(self._types) > 1 or self._prefix is not None or self.rows is not None or not self._alike:
            return None
        self._by_line = True
        if not self._taking.acquire(blocking=False):
            return None
        try:
            return self._take_lines(n)
        finally:
            self._taking.release()

    def waitable(self) -> int | None:
        """Return the descriptor to wait on where a take found a silent source; None: there is none to wait on."""
        source = self._source()
        return None if source is None or self._group or self._lines else source.waitable

    def stop(self) -> None:
        """End the run early: pipes, terminals and iterators are read no more, files and collections to their end.

        What was read of the former in whole lines is still given out.
        """
        for source in self._sources:
            source.stop()

    def next_open(self, index: int) -> int:
        """Return the first lookup from this index on that a result will come of: this one."""
        return index

    @property
    def complete(self) -> bool:
        """False when `stop()` leaves a source unread."""
        return not any(source.cut for source in self._sources)

    def position(self) -> tuple[int, int] | None:
        """Return how much was given out, and the whole: octets of files plus hosts of collections. None where unknown.

        Their quotient is for a progress bar.
        """
        totals = [source.total for source in self._sources if source.total is not None]
        if len(totals) < len(self._sources):
            return None
        # Of the block, what its hosts not given out make up by their number.
        block = self._block
        held = 0 if self._group is None and self._lines is None else block.lines - (self.hosts_read - self._begun)
        done = self._done - block.size * held // max(1, block.lines)
        return done, max(done, sum(totals))

    def close(self) -> None:
        """Close what was opened here: paths; not standard input, not a caller's file."""
        for source in self._sources:
            source.close()

    def _take(self, n: int) -> tuple[list[Query], list[Result]] | None:
        queries: list[Query] = []
        invalid: list[Result] = []
        reads = 0
        self.silent = False
        if self._lines is not None:
            self._block = self._block._replace(groups=groups_of_lines(self._lines.octets, self._types))
            self._lines = None
        while n > 0:
            if self._group is None:
                self._group = self._next_group()
            if self._group is not None:
                n -= self._give(self._group, n, queries, invalid)
                continue
            if self._by_line and (queries or invalid):
                break
            source = self._source()
            if source is None:
                return (queries, invalid) if queries or invalid else None
            if reads >= _EMPTY_BLOCKS + len(queries) + len(invalid) or not self._fill(source, n):
                break
            reads += 1
        return queries, invalid

    def _take_lines(self, n: int) -> HostLines | None:
        if self._lines is None:
            if self._group is None:
                self._group = self._next_group()
            source = self._source() if self._group is None else None
            if source is None or not self._fill(source, n) or not are_plain(self._block.octets):
                return None
            self._lines = HostLines(self.lookups, self._block.octets, self._types[0], self._block.lines)
            self._block = self._block._replace(groups=iter(()))
        lines, self._lines = cut(self._lines, n)
        self.lookups += len(lines)
        self.hosts_read += len(lines)
        return lines

    def _next_group(self) -> HostGroup | None:
        group = next(self._block.groups, None)
        if group is not None:
            group.variants = len(self._variants)
        return group

    def _source(self) -> Source | None:
        for source in islice(self._sources, self._at, None):
            if not source.ended:
                return source
            self._at += 1
        return None

    def _fill(self, source: Source, n: int) -> bool:
        block = source.read(self._types, -(-n // (len(self._types) * len(self._variants))))
        self.silent = block is None
        if block is None:
            return False
        self._block = block
        self._begun = self.hosts_read
        self._done += block.size
        return True

    def _give(self, group: HostGroup, n: int, queries: list[Query], invalid: list[Result]) -> int:
        given, before = group.given, len(queries)
        inputs, names, types, hosts = group.take(n)
        indices = range(self.lookups, self.lookups + len(inputs))
        if self.rows is not None and group.rows:
            self.rows.update((index, group.rows[group.line_of(given + at)]) for at, index in enumerate(indices))
        if group.error is None and self._prefix is not None:
            for index, text, name, type_ in zip(indices, inputs, names, types, strict=False):
                try:
                    queries.append(Query(index, text, self._prefix.before(name), type_))
                except ValueError as error:
                    invalid.append(self._invalid(index, text, type_, str(error)))
        elif group.error is None:
            queries += map(Query, indices, inputs, names, types)
        else:
            invalid += map(self._invalid, indices, inputs, types, repeat(group.error))
        if not self._alike:
            for query in queries[before:]:
                query.nameserver, query.subnet = self._variants[query.index % len(self._variants)]
        self.lookups += len(inputs)
        self.hosts_read += hosts
        if not group.left:
            self._group = self._next_group()
        return len(inputs)

    def _invalid(self, index: int, text: str, type_: str, error: str) -> Result:
        result = Query(index, text, "", type_).unanswered(Status.INVALID, error, self._engine, self._backend)
        result.name = None
        return result
