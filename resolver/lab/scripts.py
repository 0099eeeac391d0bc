"""The scripts: what the first label of a name makes the lab do.

The rows stand in one table for each kind of trouble, in the order in which `--help` shows them: `faults` (silence and
error codes), `truncation` (size, TCP), `forgeries` (replies that a resolver must not believe), `chains` (answers that
have to be read with care).
"""

from . import chains, faults, forgeries, truncation
from .script import Behaviour

_TABLE = (*faults.SCRIPTS, *truncation.SCRIPTS, *forgeries.SCRIPTS, *chains.SCRIPTS)
# Pattern of the first label to one line of help.
SCRIPTS = {pattern: line for pattern, line, _ in _TABLE}
# A pattern with a number is kept by what stands before it, with its hyphen.
_BY_LABEL = {pattern.removesuffix("N").removesuffix("MS").encode(): behave for pattern, _, behave in _TABLE}
_BY_LABEL[b"loop-back"] = _BY_LABEL[b"loop"]

# The part of each scripted label up to its first hyphen: a cheap test that most names fail.
HEADS = frozenset(label.partition(b"-")[0] for label in _BY_LABEL)


def find(label: bytes) -> tuple[Behaviour, int] | None:
    """Return the script of a first label in lower case, and its number; None for a label without one."""
    head, hyphen, digits = label.rpartition(b"-")
    if digits.isdigit() and len(digits) <= 10 and (behave := _BY_LABEL.get(head + hyphen)):
        return behave, int(digits)
    behave = None if label.endswith(b"-") else _BY_LABEL.get(label)
    return (behave, 0) if behave else None
