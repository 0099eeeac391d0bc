"""The report as a picture: curves of the lookups answered, and bars of the cost. Needs matplotlib (the extra `plot`).

An engine has one colour everywhere (Okabe and Ito's, which the colour-blind tell apart) and one style of line; a
backend has a panel of its own among the curves, and a hatch among the bars, so that all of it can be told apart in
print too.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import Any

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, PercentFormatter

from resolver.compare.curves import percent
from resolver.compare.figures import FIGURES
from resolver.compare.report import ComparisonReport, RowReport
from resolver.engines import BACKENDS, ENGINES
from resolver.output.colours import SERIES
from resolver.spelling import counted

_LINES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1, 1)), (0, (5, 1.5, 1, 1.5)), (0, (8, 2, 1, 2, 1, 2)), (0, (3, 3)))
_HATCHES = ("", "++", "///", "xx", "\\\\\\", "oo")
_GREY = "#b8b8b8"
_ENGINES, _BACKENDS = list(ENGINES), list(BACKENDS)


# Figures that have a panel of bars, and its title.
BARS = {
    "seconds_to_90": "seconds until 90% answered",
    "latency_p95": "p95 of an answer, ms",
    "cpu_seconds": "CPU seconds",
    "peak_memory": "peak memory, MB",
    "startup_seconds": "start-up seconds",
}


def draw(report: ComparisonReport, format: str) -> bytes:
    """Return the picture in this format: png or svg. The same report gives the same octets."""
    settings = {"svg.hashsalt": "resolve", "font.size": 9, "hatch.linewidth": 0.6, "svg.fonttype": "path"}
    with matplotlib.rc_context(settings):  # type: ignore[arg-type]
        figure = _figure(report)
        file = io.BytesIO()
        (FigureCanvasSVG if format == "svg" else FigureCanvasAgg)(figure)
        figure.savefig(file, format=format, dpi=130, metadata={"Date": None} if format == "svg" else None)
    return file.getvalue()


def _figure(report: ComparisonReport) -> Any:
    rows = [row for row in report.at(report.longest) if row.runs]
    # As the table of engines has them, and not by speed: a backend's engines stand together.
    rows.sort(key=lambda row: (_BACKENDS.index(row.backend), _ENGINES.index(row.engine)))
    shown = [each for each in _BACKENDS if any(row.backend == each for row in rows)]
    across = len(shown) if len(shown) <= 4 else 3
    down = -(-len(shown) // across)
    heights = [3.4 * down, 1.0 + max(0.3, 0.14 * len(report.settings.timeouts)) * len(rows)]
    figure: Any = Figure(figsize=(13, sum(heights) + 0.4), layout="constrained")
    top, bottom = figure.subfigures(2, 1, height_ratios=heights)
    _title(figure, report)
    axes = list(top.subplots(down, across, sharex=True, sharey=True, squeeze=False).flat)
    for backend, each in zip(shown, axes, strict=False):
        _curves(each, rows, backend, report.deadlines)
    for each in axes[len(shown) :]:
        each.remove()
    top.supxlabel("seconds since the engine was ready, logarithmic", fontsize=9)
    top.supylabel("lookups answered", fontsize=9)
    _bars(bottom, report, rows)
    return figure


def _title(figure: Any, report: ComparisonReport) -> None:
    settings, lab = report.settings, report.lab
    asked = ", ".join(report.nameservers) or "the system's nameservers"
    if lab is not None:
        asked = f"a lab with {1000 * lab.latency:g} ms latency and {100 * lab.loss:g}% loss"
    pairs = len({row.name for row in report.rows})
    figure.suptitle(
        f"{counted(report.lookups, 'lookup')} through {counted(pairs, 'pair')} of engine and backend: "
        f"{asked}, {settings.concurrency} in flight, {counted(settings.repeat, 'run')} of each",
        fontsize=11,
    )


def _curves(axes: Any, rows: Sequence[RowReport], backend: str, timeouts: Sequence[float]) -> None:
    """Draw a backend's engines in colour, a band from the soonest run to the latest, and the others behind in grey."""
    for row in rows:
        curves = (row.curve, row.curve_soonest, row.curve_latest)
        middle, soonest, latest = ([math.nan if at is None else at for at in curve] for curve in curves)
        shares = [number / len(middle) for number in range(1, len(middle) + 1)]
        number = _ENGINES.index(row.engine)
        if row.backend != backend:
            # Every fourth point: it is behind the others, and a picture for a page should stay small.
            axes.plot(middle[::4], shares[::4], color=_GREY, linewidth=0.7, zorder=1)
            continue
        colour = SERIES[number % len(SERIES)]
        if len(row.runs) > 1:
            axes.fill_betweenx(shares, soonest, latest, color=colour, alpha=0.18, linewidth=0, zorder=2)
        axes.plot(
            middle, shares, color=colour, linestyle=_LINES[number % len(_LINES)], linewidth=2, label=row.engine,
            zorder=3,
        )  # fmt: skip
    for timeout in timeouts:
        axes.axvline(timeout, color="black", linewidth=0.8, linestyle=(0, (2, 2)), zorder=0)
        over = axes.get_xaxis_transform()
        axes.text(timeout, 1.02, f"{timeout:g} s", ha="center", va="bottom", fontsize=8, transform=over)
    axes.set_title(f"backend {backend}", loc="left", fontweight="bold", fontsize=10, pad=14)
    axes.set_xscale("log")
    axes.set_ylim(0, 1.01)
    axes.xaxis.set_major_locator(LogLocator(base=10, subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.grid(axis="both", color="#e6e6e6", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelbottom=True)
    axes.legend(frameon=False, fontsize=9, loc="upper left", handlelength=3.5)


def _bars(sheet: Any, report: ComparisonReport, rows: Sequence[RowReport]) -> None:
    """Draw for each row the figures of the longest timeout; before them how many were answered within each timeout."""
    panels = sheet.subplots(1, len(BARS) + 1, sharey=True, width_ratios=[1.3] + [1.0] * len(BARS))
    places = list(range(len(rows)))[::-1]
    _answered(panels[0], report, rows, places)
    for axes, (name, title) in zip(panels[1:], BARS.items(), strict=True):
        figure, spreads = FIGURES[name], [row.figures[name] for row in rows]
        all_best = all(name in row.best for row, spread in zip(rows, spreads, strict=True) if spread)
        for row, spread, place in zip(rows, spreads, places, strict=True):
            if spread is None:
                axes.text(0, place, " none", va="center", fontsize=8)
                continue
            _bar(axes, row, place, figure.scale * spread.median)
            ends = [figure.scale * spread.min, figure.scale * spread.max]
            axes.plot(ends, [place, place], color="black", linewidth=1.2, solid_capstyle="butt")
            star = "*" if name in row.best and not all_best else ""
            _note(axes, figure.text(spread.median) + star, ends[1], place, 8)
        axes.set_title(title, fontsize=9)
        axes.margins(x=0.3)
        axes.set_xlim(left=0)
        axes.locator_params(axis="x", nbins=3)
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(axis="y", length=0)
    panels[0].set_yticks(places, [row.name for row in rows])
    until = "" if report.longest is None else f", with {report.longest:g} s"
    stars = "; lines: lowest to highest run; * best, or no different from it" if report.settings.repeat > 1 else ""
    sheet.supxlabel(f"what it took{until} (medians{stars})", fontsize=9)


def _answered(axes: Any, report: ComparisonReport, rows: Sequence[RowReport], places: Sequence[int]) -> None:
    """Draw the share that was answered at all, one mark for each timeout."""
    timeouts = report.settings.timeouts
    for row, place in zip(rows, places, strict=True):
        for number, timeout in enumerate(timeouts):
            (same,) = [each for each in report.rows if each.timeout == timeout and each.name == row.name]
            share = same.median("answered") / report.lookups
            depth = 0.8 / len(timeouts)
            at = place + 0.4 - depth * (number + 0.5)
            _bar(axes, row, at, share, depth * 0.9)
            _note(axes, percent(share), share, at, 7)
    words = [f"{each:g}" for each in report.deadlines]
    axes.set_title(f"answered within {' / '.join(words)} s" if words else "answered", fontsize=9)
    axes.set_xlim(0, 1.2)
    axes.set_xticks([0, 0.5, 1], ["0", "50%", "100%"])


def _bar(axes: Any, row: RowReport, place: float, value: float, depth: float = 0.7) -> None:
    colour = SERIES[_ENGINES.index(row.engine) % len(SERIES)]
    hatch = _HATCHES[_BACKENDS.index(row.backend) % len(_HATCHES)]
    axes.barh(place, value, depth, color=colour, hatch=hatch, edgecolor="white", linewidth=0)


def _note(axes: Any, text: str, x: float, y: float, size: int) -> None:
    axes.annotate(text, (x, y), (3, 0), textcoords="offset points", va="center", fontsize=size)
