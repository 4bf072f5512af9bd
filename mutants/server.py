"""A process that has pytest in it already, and runs tests in a child of its own, as often as it is asked.

To start Python and to import pytest takes longer than most mutants live. Nothing of the package under test is imported
here: each child imports it anew. A line of JSON each way; the process ends with its standard input.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import select
import signal
import sys
import time
from typing import Any

LOADED = ("asyncio", "concurrent.futures", "hypothesis", "hypothesis.stateful", "tenacity", "trio", "pytest")
TIMED_OUT = -1


def run(job: dict[str, Any]) -> int:
    """Run pytest in a child, and return its exit code, or `TIMED_OUT`."""
    child = os.fork()
    if not child:
        _be_pytest(job)
    ends = time.monotonic() + job["timeout"]
    code: int | None = None
    while code is None:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            code = abs(os.waitstatus_to_exitcode(status))
        elif time.monotonic() > ends or select.select([sys.stdin], [], [], 0.005)[0]:  # nobody asks before the answer
            code = TIMED_OUT
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)  # it, or what it left behind
    if code == TIMED_OUT:
        os.waitpid(child, 0)
    return code


def _be_pytest(job: dict[str, Any]) -> None:
    code = 1
    try:
        os.setsid()
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        output = os.open(job["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(output, 1)
        os.dup2(output, 2)
        # A file that was changed twice within a second would else be taken for its first version.
        sys.dont_write_bytecode = not job["keep_bytecode"]
        if sys.dont_write_bytecode:
            os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
        code = _pytest(job)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _pytest(job: dict[str, Any]) -> int:
    import pytest

    from .reach import Recorder, Selection

    # hypothesis is imported before its plugin can ask for its assertions to be rewritten.
    options = ["-q", "-p", "mutants.small", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
    plugin: object
    if job["record"]:
        plugin = Recorder(job["module"], job["record"])
    else:
        options.append("-x")
        plugin = Selection(job["selected"], job["seconds"], job["output"])
    return int(pytest.main([*options, *job["files"]], plugins=[plugin]))


if __name__ == "__main__":
    for name in LOADED:
        importlib.import_module(name)
    for line in sys.stdin:
        print(json.dumps(run(json.loads(line))), flush=True)
