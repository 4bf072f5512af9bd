"""`python -m benchmarks [name…]`: run all benchmarks but the long ones, or those named."""

from __future__ import annotations

import argparse
import importlib
import time

from . import report
from .report import Row

NAMES = ("success", "failure", "judging", "imports", "leftovers", "circuit", "failover", "guarded")
LONG = ("outage", "recovering", "waiting")
"""What takes minutes, and runs only if it is named."""


def main() -> None:
    """Run, print, and never fail for a bound that is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="What resilient costs, beside its peers.")
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"of: {', '.join(NAMES + LONG)}; default: all but {', '.join(LONG)}"
    )
    names = parser.parse_args().names or NAMES
    for name in names:
        if name not in NAMES + LONG:
            parser.error(f"no benchmark {name!r}; there are {', '.join(NAMES + LONG)}")
    print(report.machine())
    started = time.perf_counter()
    rows: list[Row] = []
    for name in names:
        module = importlib.import_module(f".{name}", __package__)
        measured = list(module.measure())
        report.show(module.TITLE, measured)
        rows += measured
    print(f"\n{time.perf_counter() - started:.0f} s. A line that starts with ! misses its bound.")
    print(report.summary(rows))


if __name__ == "__main__":
    main()
