"""Elements of a page of HTML, for tests of what a page must not hold."""

import html.parser
from collections import Counter


class Elements(html.parser.HTMLParser):
    """The elements of a page, how many there are of each, the names of their attributes, and the text between them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.names: Counter[str] = Counter()
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(page)
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names[tag] += 1
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.text += f"{data} "

    @property
    def active(self) -> set[str]:
        """Return what could run, or fetch something from elsewhere."""
        handlers = {name for name in self.attributes if name.startswith("on")}
        return {"script", "img", "iframe", "object", "embed"} & self.names.keys() | handlers
