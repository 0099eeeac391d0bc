"""The report for machines: one JSON document, or CSV with a row for each contestant and timeout."""

from __future__ import annotations

import csv
import io

import msgspec

from resolver.compare.figures import NAMES
from resolver.compare.report import ComparisonReport

# Each figure is three columns: its median by its own name, and both ends of the spread.
COLUMNS = (
    *("engine", "backend", "timeout", "runs", "errors"),
    *(column for name in NAMES for column in (name, f"{name}_min", f"{name}_max")),
    "best",
)


def json(report: ComparisonReport) -> bytes:
    """Return everything, indented, with a line break at its end."""
    return msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n"


def table(report: ComparisonReport) -> bytes:
    """Return CSV (RFC 4180) as `resolve run -f csv` has it: a header, CR LF, null is empty, UTF-8 without a mark."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for row in report.rows:
        figures = [
            value
            for spread in row.figures.values()
            for value in ((None,) * 3 if spread is None else (spread.median, spread.min, spread.max))
        ]
        errors = "; ".join(dict.fromkeys(row.errors))
        writer.writerow([row.engine, row.backend, row.timeout, len(row.runs), errors, *figures, " ".join(row.best)])
    return text.getvalue().encode("utf-8", "replace")
