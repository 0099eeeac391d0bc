"""A real browser for the tests: Chromium without a window, told what to do by its DevTools protocol.

The protocol runs over a pipe (`--remote-debugging-pipe`), so there is no port and no library. Nothing of the world
outside is reached: every host but loopback is unknown to this browser, and asking for one is a problem of the page.

    with Browser() as browser, browser.open(path.as_uri()) as page:
        page.show(width=390, dark=True)
        assert [] == page.problems()
"""

import base64
import contextlib
import fcntl
import json
import os
import select
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
MISSING = "there is no Chromium (Debian: apt install chromium)"
PATIENCE = 30.0  # seconds for whatever is asked of the browser
NARROW, WIDE = 390, 1400  # pixels: a telephone, a screen

_OPTIONS = [
    "--headless",
    "--remote-debugging-pipe",
    "--no-first-run",
    "--no-sandbox",  # which cannot be had as root, as in a container
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-extensions",
    "--disable-sync",
    "--hide-scrollbars",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]
# What a page must not be: pictures that did not come, and more width than the window has.
_LOOK = """(() => {
    const broken = [...document.images].filter(image => !image.complete || !image.naturalWidth);
    const wide = document.documentElement.scrollWidth - window.innerWidth;
    const past = wide <= 0 ? [] : [...document.querySelectorAll("*")].filter(
        element => element.getBoundingClientRect().right > window.innerWidth + 1);
    return [
        ...broken.map(image => "a broken picture: " + image.src),
        ...(wide > 0 ? [`${wide} px wider than the window: ` + past.slice(0, 3).map(
            element => element.outerHTML.slice(0, 100)).join(" … ")] : []),
    ];
})()"""


class Browser:
    """A Chromium of the tests' own, with a profile that is thrown away. Opened once, it serves many pages."""

    def __enter__(self) -> Self:
        assert PROGRAM is not None, MISSING
        self._profile = tempfile.mkdtemp(prefix="browser-")
        (commands, self._send), (self._receive, replies) = os.pipe(), os.pipe()
        ends = [os.open(os.devnull, os.O_RDWR), commands, replies]
        high = [fcntl.fcntl(each, fcntl.F_DUPFD_CLOEXEC, 5) for each in ends]  # none of them is in another's place
        places = zip((0, 0, 0, 1, 2), (0, 1, 2, 3, 4), strict=True)
        self._pid = os.posix_spawn(
            PROGRAM, [PROGRAM, *_OPTIONS, f"--user-data-dir={self._profile}", "about:blank"],
            {**os.environ, "HOME": self._profile, "TMPDIR": self._profile}, setsid=True,
            file_actions=[(os.POSIX_SPAWN_DUP2, high[end], place) for end, place in places],
        )  # fmt: skip
        for descriptor in (*ends, *high):
            os.close(descriptor)
        self._unread = b""
        self._sent = 0
        self._answers: dict[int, dict[str, Any]] = {}
        self._pages: dict[str, Page] = {}
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        os.close(self._send)
        os.close(self._receive)
        shutil.rmtree(self._profile, ignore_errors=True)

    @contextlib.contextmanager
    def open(self, url: str = "about:blank", *, width: int = WIDE, dark: bool = False) -> Iterator["Page"]:
        """Open a tab with this address, loaded whole, and close it in the end."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = self._pages[session] = Page(self, session)
        for domain in ("Page", "Runtime", "Log", "Network"):
            page.call(f"{domain}.enable")
        page.show(width=width, dark=dark)
        page.go(url)
        try:
            yield page
        finally:
            self.call("Target.closeTarget", targetId=target)
            del self._pages[session]

    def call(self, method: str, session: str | None = None, **parameters: Any) -> Any:
        """Give a command of the protocol, and return its result."""
        self._sent += 1
        number = self._sent
        command = {"id": number, "method": method, "params": parameters}
        command |= {"sessionId": session} if session else {}
        os.write(self._send, json.dumps(command).encode() + b"\0")
        self.wait(lambda: number in self._answers, method)
        answer = self._answers.pop(number)
        assert "error" not in answer, f"{method}: {answer['error']}"
        return answer["result"]

    def wait(self, condition: Callable[[], object], what: str) -> None:
        """Read what the browser says until this is true."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            ready, _, _ = select.select([self._receive], [], [], max(0, deadline - time.monotonic()))
            octets = os.read(self._receive, 1 << 20) if ready else b""
            assert octets, f"the browser did not answer: {what}"
            *whole, self._unread = (self._unread + octets).split(b"\0")
            for message in map(json.loads, whole):
                if "id" in message:
                    self._answers[message["id"]] = message
                elif page := self._pages.get(message.get("sessionId")):
                    page.hear(message["method"], message["params"])


class Page:
    """A tab of the browser."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser = browser
        self._session = session
        self._loaded = False
        self._told: list[str] = []

    def call(self, method: str, **parameters: Any) -> Any:
        """Give a command of the protocol to this tab, and return its result."""
        return self._browser.call(method, self._session, **parameters)

    def go(self, url: str) -> None:
        """Load this address whole, its pictures and scripts too."""
        self._loaded = False
        failed = self.call("Page.navigate", url=url).get("errorText")
        assert failed is None, f"{url}: {failed}"
        self._browser.wait(lambda: self._loaded, url)

    def show(self, *, width: int = WIDE, height: int = 900, dark: bool = False, paper: bool = False) -> None:
        """Set the size of the window in pixels, the colours that the reader prefers, and whether it is printed."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        preference = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", media="print" if paper else "", features=[preference])

    def evaluate(self, expression: str) -> Any:
        """Return what this JavaScript gives, once it is there where it is a promise."""
        done = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    def problems(self) -> list[str]:
        """Return what is wrong as it is shown now, and what console and network have said since it was opened."""
        # Pictures that are loaded when they come into sight are wanted too; and a frame, for scripts that follow.
        self.evaluate(
            "Promise.all([...document.images].map(image => (image.loading = 'eager', image.decode().catch(() => 0))))"
            ".then(() => new Promise(requestAnimationFrame))"
        )
        return [*self._told, *self.evaluate(_LOOK)]

    def text(self) -> str:
        """Return the text that a reader sees."""
        return str(self.evaluate("document.body.innerText"))

    def screenshot(self, path: Path, *, whole: bool = False) -> None:
        """Write what the window shows as a PNG, or the whole page."""
        data = self.call("Page.captureScreenshot", captureBeyondViewport=whole)["data"]
        path.write_bytes(base64.b64decode(data))

    def pdf(self) -> bytes:
        """Return the page as it is printed on A4, background colours left out as browsers do."""
        return base64.b64decode(self.call("Page.printToPDF", paperWidth=8.27, paperHeight=11.69)["data"])

    def hear(self, event: str, told: dict[str, Any]) -> None:
        """Take note of an event."""
        match event:
            case "Page.loadEventFired":
                self._loaded = True
            case "Runtime.exceptionThrown":
                details = told["exceptionDetails"]
                self._told.append(details.get("exception", {}).get("description") or details["text"])
            case "Runtime.consoleAPICalled" if told["type"] in ("error", "assert", "warning"):
                words = [str(each.get("value", each.get("description"))) for each in told["args"]]
                self._told.append(f"console.{told['type']}: {' '.join(words)}")
            case "Log.entryAdded" if told["entry"]["level"] == "error":
                self._told.append(f"{told['entry']['text']} {told['entry'].get('url', '')}")
            case "Network.loadingFailed" if not told.get("canceled"):
                self._told.append(f"not loaded: {told.get('errorText')}")
