"""Indices as bits: by index // PAGE, the pages that have some, each with a bit at index % PAGE.

What costs a tenth of a lookup with sets of integers is done here a page at a time.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

PAGE = 1024  # indices whose bits stand together

Bits = dict[int, int]


def bits_of(indices: Iterable[int]) -> Bits:
    """Return indices as bits."""
    ordered = sorted(indices)  # nearly are, and those of a page stand together then
    bits = {}
    at = 0
    while at < len(ordered):
        page = ordered[at] // PAGE
        end = bisect_left(ordered, PAGE * (page + 1), at)
        if end - at == 1:
            bits[page] = 1 << ordered[at] % PAGE
        else:
            digits, last = bytearray(b"0") * PAGE, PAGE * page + PAGE - 1
            for index in ordered[at:end]:
                digits[last - index] = 49  # "1"
            bits[page] = int(digits, 2)
        at = end
    return bits


def bits_of_range(indices: range) -> Bits:
    """Return as `bits_of` does, of indices that follow each other."""
    bits = {}
    for page in range(indices.start // PAGE, -(-indices.stop // PAGE)):
        begin, end = max(0, indices.start - PAGE * page), min(PAGE, indices.stop - PAGE * page)
        bits[page] = (1 << end) - (1 << begin)
    return bits


def indices_of(bits: Bits) -> Iterator[int]:
    """Yield the indices that these bits stand for, in order."""
    for page, set_ in sorted(bits.items()):
        digits, at = f"{set_:b}"[::-1], -1
        while (at := digits.find("1", at + 1)) >= 0:
            yield PAGE * page + at


def octets_of(bits: Bits) -> dict[int, bytes]:
    """Return bits as they travel: each page as octets."""
    return {page: set_.to_bytes(PAGE // 8, "little") for page, set_ in bits.items()}


def bits_of_octets(octets: dict[int, bytes]) -> Bits:
    """Return the bits that travelled as these octets."""
    return {page: int.from_bytes(each, "little") for page, each in octets.items()}
