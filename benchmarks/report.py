"""Figures as a table for people: what, bound, measured, peers."""

from __future__ import annotations

import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from .sampling import Spread

PEERS: Final = (
    "tenacity",
    "stamina",
    "backoff",
    "pybreaker",
    "circuitbreaker",
    "purgatory",
    "aiobreaker",
    "interlock-cb",
)

_UNITS: Final = {"x": (1.0, "×"), "ns": (1e9, "ns"), "us": (1e6, "µs"), "ms": (1e3, "ms"), "": (1.0, "")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One figure.

    Attributes:
        what: what was measured.
        measured: the figure; None where it could not be taken, and `note` says why.
        bound: the most it may be, in the same unit as `measured`; None where there is none.
        unit: "x" (a ratio), "ns", "us", "ms" (`measured` is in seconds then), or "" (a count).
        peers: the same figure of others, by name.
        note: more words, on a line of its own.
    """

    what: str
    measured: Spread | None
    bound: float | None = None
    unit: str = "x"
    peers: dict[str, Spread | str] = field(default_factory=dict)
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the bound is met; None where there is none or nothing was measured."""
        if self.bound is None or self.measured is None:
            return None
        return self.measured.median <= self.bound


def show(title: str, rows: Sequence[Row]) -> None:
    """Print one table."""
    cells = [(row.what, _bound(row), _measured(row), _peers(row)) for row in rows]
    head = ("", "bound", "median (quartiles), rounds", "peers")
    widths = [max(len(line[column]) for line in (head, *cells)) for column in range(3)]
    print(f"\n{title}")
    print("  " + _line(head, widths))
    for row, line in zip(rows, cells, strict=True):
        print(("! " if row.met is False else "  ") + _line(line, widths))
        if row.note:
            print(f"      {row.note}")
    sys.stdout.flush()


def summary(rows: Sequence[Row]) -> str:
    """Return one line that says which bounds are met."""
    bounded = [row for row in rows if row.bound is not None]
    missed = [row.what for row in bounded if row.met is False]
    untaken = [row.what for row in bounded if row.met is None]
    text = f"Bounds met: {len(bounded) - len(missed) - len(untaken)} of {len(bounded)}."
    if missed:
        text += f" MISSED: {'; '.join(missed)}."
    if untaken:
        text += f" NOT MEASURED: {'; '.join(untaken)}."
    return text


def machine() -> str:
    """Return what the figures were taken with: versions, and nothing of the machine but its kind."""
    versions = ", ".join(f"{name} {_version(name)}" for name in PEERS)
    implementation = platform.python_implementation()
    return f"{implementation} {platform.python_version()} on {platform.system()} {platform.machine()}; {versions}"


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _bound(row: Row) -> str:
    return "" if row.bound is None else f"≤ {_number(row.bound, row.unit)}"


def _measured(row: Row) -> str:
    if row.measured is None:
        return "not measured"
    spread = row.measured
    if spread.rounds == 1:
        return _number(spread.median, row.unit)
    low, high = _number(spread.low, row.unit, bare=True), _number(spread.high, row.unit, bare=True)
    return f"{_number(spread.median, row.unit)} ({low}-{high}), {spread.rounds}"


def _peers(row: Row) -> str:
    return ", ".join(
        f"{name} {its if isinstance(its, str) else _number(its.median, row.unit)}" for name, its in row.peers.items()
    )


def _number(value: float, unit: str, *, bare: bool = False) -> str:
    factor, sign = _UNITS[unit]
    value *= factor
    text = f"{value:.0f}" if abs(value) >= 100 or unit == "" else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
    return text if bare or not sign else text + sign if unit == "x" else f"{text} {sign}"


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = [cell.ljust(width) for cell, width in zip(cells, widths, strict=False)]
    return " | ".join([*padded, *cells[len(widths) :]]).rstrip()
