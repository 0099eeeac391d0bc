"""Lint, format and types, as tests: one command checks everything.

The tools read their settings from pyproject.toml, and run as a developer runs them: from the top of the checkout.
"""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    "command",
    [["ruff", "check"], ["ruff", "format", "--check"], ["mypy"]],
    ids=["lint", "format", "types"],
)
def test_tool_finds_nothing(command: list[str]) -> None:
    """The tool ends with status 0; what it found is shown where it does not."""
    run = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert 0 == run.returncode, f"{' '.join(command)}\n{run.stdout}{run.stderr}"
