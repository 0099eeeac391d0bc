"""Templates to pages: how numbers are written, and how texts of strangers are escaped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from resolver.output.colours import COLOURS, kind
from resolver.output.lines import visible
from resolver.spelling import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

_LONGEST = 200  # characters of a text on a page


def render(template: str, **values: Any) -> bytes:
    """Return the page that this template makes of these values."""
    import jinja2
    from markupsafe import Markup, escape

    def shown(value: object) -> object:
        """Return a text without what could turn its direction or hide; jinja2 escapes it after that."""
        if not isinstance(value, str) or isinstance(value, Markup):
            return value
        return visible(shortened(value, _LONGEST))

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("resolver.pages"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=shown,
    )
    environment.filters |= {"count": count, "duration": duration, "kind": kind, "listed": listed, "share": share}
    environment.filters["whole"] = lambda text: escape(visible(text))
    environment.filters["block"] = lambda text: escape("\n".join(map(visible, text.split("\n"))))
    return environment.get_template(template).render(colours=COLOURS, **values).encode("utf-8", "replace")


def shortened(text: str, most: int) -> str:
    """Return no more than so many characters of a text."""
    return text if len(text) <= most else f"{text[:most]}…"


def count(number: float, one: str = "", several: str | None = None) -> str:
    """Return 1,234; or 1,234 lookups."""
    return counted(number, one, several) if one else f"{number:,.0f}"


def share(part: float, whole: float) -> str:
    """Return a part in percent, which is 100 only where nothing is missing, and 0 only where there is nothing."""
    if not whole:
        return "-"
    percent = 100 * part / whole
    if 0 < percent < 0.1:
        return "< 0.1 %"
    if 99.9 < percent < 100:
        return "> 99.9 %"
    return f"{percent:.3g} %" if percent >= 10 else f"{percent:.2g} %"


def duration(seconds: float | None) -> str:
    """Return seconds as people say them."""
    if seconds is None:
        return "-"
    if 0 < seconds < 0.9995:
        return f"{seconds * 1000:.3g} ms"
    if seconds < 99.95:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def listed(words: Sequence[object], most: int = 8) -> str:
    """Return words with commas between; of more than so many, how many more there are."""
    named = ", ".join(shortened(str(word), 80) for word in words[:most])
    return f"{named} and {len(words) - most:,} more" if len(words) > most else named
