"""Labels that are put before each name (`--prefix _dmarc`)."""

from __future__ import annotations

from resolver.input.names import canonical, octets_of_name

_MOST = 255  # octets of a name (RFC 1035 section 2.3.4)


class Prefix:
    """Labels before each name.

    Args:
        labels: As a host is written, but no address.

    Raises:
        ValueError: DNS cannot be asked for them.
    """

    def __init__(self, labels: str) -> None:
        try:
            name = canonical(labels.strip())
        except ValueError as error:
            raise ValueError(f"prefix {labels[:100]!r}: {error}") from None
        if name == ".":
            raise ValueError(f"prefix {labels!r} has no label")
        self._labels = name
        self._octets = octets_of_name(name) - 1

    def before(self, name: str) -> str:
        """Return an absolute name with the labels before it. Raises ValueError where that is too long."""
        # Presentation format is as long as the octets, or longer.
        if len(name) + 1 + self._octets > _MOST and octets_of_name(name) + self._octets > _MOST:
            raise ValueError("with the prefix the name is longer than 255 octets")
        return self._labels if name == "." else self._labels + name
