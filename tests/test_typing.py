"""Type checkers agree on the public names: `typing/api.py` is read by mypy and pyright, and never run.

That an ignore which nothing needs is an error as well makes this a check that can fail: were a name `Any` to them, the
lines that must be errors would be none.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
API = "tests/typing/api.py"
COMMANDS = {
    "mypy": ["--strict", "--no-error-summary", API],
    "pyright": ["--pythonpath", sys.executable, API],
}


@pytest.fixture(scope="module")
def checkers() -> Iterator[dict[str, subprocess.Popen[str]]]:
    """All that are installed, at work side by side."""
    started = {
        name: subprocess.Popen(
            [sys.executable, "-m", name, *arguments],
            cwd=REPOSITORY,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for name, arguments in COMMANDS.items()
        if find_spec(name) is not None
    }
    yield started
    for checker in started.values():
        checker.kill()
        checker.communicate()


@pytest.mark.parametrize("name", COMMANDS)
def test_a_type_checker_agrees(name: str, checkers: dict[str, subprocess.Popen[str]]) -> None:
    """Every signature is kept, and every line that must be an error is one."""
    if name not in checkers:
        pytest.skip(f"{name} is not installed")
    said, _ = checkers[name].communicate(timeout=300)
    assert checkers[name].returncode == 0, said


def test_the_types_are_said_to_be_there() -> None:
    """PEP 561: without the marker no checker looks."""
    import resilient

    assert Path(resilient.__file__).with_name("py.typed").exists()
