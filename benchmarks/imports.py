"""`import resilient`: what a program pays at its start, in interpreters of their own."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import resilient
from resilient.signatures import TABLE

from .report import Row
from .sampling import spread

TITLE: Final = "The import, over `import tenacity`, each in a fresh interpreter"

BOUND: Final = 1.35
PAIRS: Final = 30
FORBIDDEN: Final = ("asyncio", "ssl", "logging.config")

_CHILD: Final = """
import json, sys, time
sys.path.insert(0, sys.argv[1])
before = set(sys.modules)
worked, started = time.process_time(), time.perf_counter()
import {module}
ended, worked = time.perf_counter(), time.process_time() - worked
print(json.dumps([ended - started, worked, sorted(set(sys.modules) - before)]))
"""


def measure() -> Iterator[Row]:
    """Measure pairs of imports, and list what comes in beyond tenacity's."""
    for module in ("tenacity", "resilient"):  # the first writes the bytecode
        _import(module)
    times: dict[str, list[float]] = {"tenacity": [], "resilient": []}
    work: dict[str, list[float]] = {"tenacity": [], "resilient": []}
    modules: dict[str, list[str]] = {}
    order = list(times)
    for _ in range(PAIRS):
        random.shuffle(order)
        for module in order:
            seconds, worked, modules[module] = _import(module)
            times[module].append(seconds)
            work[module].append(worked)
    for clock, figures in (("wall clock", times), ("processor time", work)):
        ours, theirs = (spread(figures[module]).median * 1e3 for module in ("resilient", "tenacity"))
        yield Row(
            what=f"import resilient, {clock}",
            bound=BOUND,
            measured=spread(its / base for its, base in zip(figures["resilient"], figures["tenacity"], strict=True)),
            note=f"ours {ours:.1f} ms, tenacity {theirs:.1f} ms",
        )
    beyond = sorted(set(modules["resilient"]) - set(modules["tenacity"]))
    foreign = [name for name in beyond if name.partition(".")[0] != "resilient"]
    clients = set(TABLE) & {name.partition(".")[0] for name in foreign}
    forbidden = sorted({name for name in foreign if name.startswith(FORBIDDEN)} | clients)
    early = "tenacity" in modules["resilient"]
    yield Row(
        what="modules that it must not load",
        unit="",
        bound=0,
        measured=spread([len(forbidden)]),
        note=f"{', '.join(forbidden) or 'none'}; tenacity itself: {'at import' if early else 'NOT AT IMPORT'}",
    )
    yield Row(
        what="modules beyond tenacity's",
        unit="",
        measured=spread([len(beyond)]),
        note=f"{len(beyond) - len(foreign)} of resilient; {', '.join(foreign) or 'no others'}",
    )


def _import(module: str) -> tuple[float, float, list[str]]:
    root = str(Path(resilient.__file__).resolve().parent.parent)
    # -I: neither the environment's nor the folder's modules come in between.
    done = subprocess.run(
        [sys.executable, "-I", "-c", _CHILD.format(module=module), root], check=True, capture_output=True, text=True
    )
    seconds, worked, modules = json.loads(done.stdout)
    return seconds, worked, modules
