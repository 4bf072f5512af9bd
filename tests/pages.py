"""The pages of the manual, read: blocks, tables, headings, links. Nothing is run here but by `names_of`.

Only the Markdown that the pages use is understood: fenced blocks, `#` headings, pipe tables, inline links, and HTML
comments of the form `<!-- key: value -->` on the lines before a block, which say how the tests treat it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent

MARKS = {"file", "needs", "not run", "raises", "output", "clock", "pytest"}
"""What may stand before a block:

file: NAME          it is this file, which the blocks below import
needs: PACKAGE, …   run it only where these are installed
not run: REASON     compile it and no more
raises: CLASS       it ends with this exception, whose traceback counts as output
clock: fake         run it on a clock that jumps
pytest              it belongs to a test module that pytest runs
output              (before text) what the block above printed and logged; numbers are not compared, a line of dots
                    stands for any lines
"""


@dataclass(frozen=True)
class Block:
    """A fenced block."""

    page: str
    line: int
    language: str
    text: str
    marks: dict[str, str]

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


@dataclass(frozen=True)
class Table:
    """A pipe table: its header, and rows of cells as they are written."""

    page: str
    line: int
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def column(self, name: str) -> list[str]:
        return [row[self.header.index(name)] for row in self.rows]


@dataclass
class Section:
    """What stands under a heading, down to the next heading of its level or a higher one."""

    level: int
    title: str
    line: int
    text: str = ""
    tables: list[Table] = field(default_factory=list)


class Page:
    """One Markdown file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = path.relative_to(REPOSITORY).as_posix()
        self.text = path.read_text(encoding="utf-8")

    def __repr__(self) -> str:
        return self.name

    @cached_property
    def blocks(self) -> list[Block]:
        return self._read()[0]

    @cached_property
    def prose(self) -> list[str]:
        """The lines outside of fenced blocks; those inside are empty, so that numbers stay right."""
        return self._read()[1]

    def _read(self) -> tuple[list[Block], list[str]]:
        blocks: list[Block] = []
        prose: list[str] = []
        marks: dict[str, str] = {}
        inside: list[str] | None = None
        language = ""
        for number, line in enumerate(self.text.splitlines(), start=1):
            if inside is not None:
                if line == "```":
                    blocks.append(Block(self.name, number - len(inside), language, "\n".join(inside) + "\n", marks))
                    inside, marks = None, {}
                else:
                    inside.append(line)
                prose.append("")
                continue
            if line.startswith("```"):
                inside, language = [], line[3:].strip()
                prose.append("")
                continue
            comment = re.fullmatch(r"<!-- ([a-z ]+?)(?:: (.+?))? -->", line)
            if comment is not None:
                assert comment[1] in MARKS, f"{self.name}:{number}: unknown mark {comment[1]!r}"
                marks = {**marks, comment[1]: comment[2] or ""}
            else:
                assert not marks, f"{self.name}:{number}: a mark stands on the line before its block"
            prose.append(line)
        assert inside is None, f"{self.name}: a block is not closed"
        return blocks, prose

    @cached_property
    def sections(self) -> list[Section]:
        sections: list[Section] = []
        is_open: list[Section] = []
        lines = self.text.splitlines()
        for number, line in enumerate(self.prose, start=1):
            heading = re.match(r"(#{1,6}) (.+)", line)
            if heading is not None:
                level = len(heading[1])
                is_open = [section for section in is_open if section.level < level]
                section = Section(level, heading[2].strip(), number)
                sections.append(section)
                is_open.append(section)
            for section in is_open:
                section.text += lines[number - 1] + "\n"
        for table in self.tables:
            for section in sections:
                end = section.line + section.text.count("\n")
                if section.line < table.line < end:
                    section.tables.append(table)
        return sections

    @cached_property
    def tables(self) -> list[Table]:
        tables: list[Table] = []
        start: int | None = None
        for number, line in enumerate([*self.prose, ""], start=1):
            if line.startswith("|"):
                start = start or number
            elif start is not None:
                header, rule, *rows = (_cells(row) for row in self.prose[start - 1 : number - 1])
                assert all(set(cell) <= {"-", ":"} for cell in rule), f"{self.name}:{start}: a table without a rule"
                assert all(len(row) == len(header) for row in rows), f"{self.name}:{start}: rows of unequal length"
                tables.append(Table(self.name, start, header, tuple(rows)))
                start = None
        return tables

    @cached_property
    def anchors(self) -> set[str]:
        """The anchors of its headings, as GitHub and MyST make them."""
        anchors: set[str] = set()
        for section in self.sections:
            anchor = re.sub(r"[^\w\- ]", "", section.title.lower()).replace(" ", "-")
            assert anchor not in anchors, f"{self.name}: two headings have the anchor {anchor!r}"
            anchors.add(anchor)
        return anchors

    @property
    def links(self) -> list[tuple[int, str]]:
        """Line and target of each inline link."""
        return [
            (number, link)
            for number, line in enumerate(self.prose, start=1)
            for link in re.findall(r"\]\(([^()\s]+)\)", re.sub(r"`[^`]*`", "", line))
        ]


def _cells(row: str) -> tuple[str, ...]:
    return tuple(cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", row.strip().strip("|")))


def code(cell: str) -> str:
    """Return the one piece of code that a cell holds."""
    found = re.findall(r"`([^`]+)`", cell)
    assert len(found) == 1, f"not one piece of code: {cell!r}"
    return str(found[0])


PAGES = [
    Page(path)
    for path in (
        REPOSITORY / "README.md",
        REPOSITORY / "CHANGELOG.md",
        *sorted((REPOSITORY / "docs").rglob("*.md")),
    )
    if "_build" not in path.parts
]
BY_NAME = {page.name: page for page in PAGES}
REFERENCE = [page for page in PAGES if page.name.startswith("docs/reference/")]


def section(title: str, *, page: str | None = None) -> Section:
    """Return the one section of the reference, or of a page, that has this title."""
    pages = REFERENCE if page is None else [BY_NAME[page]]
    found = [section for page_ in pages for section in page_.sections if section.title == title]
    assert len(found) == 1, f"{title!r} heads {len(found)} sections of {page or 'the reference'}, and should head one"
    return found[0]


def names_of(page: str) -> dict[str, Any]:
    """Run the blocks of a page and return its names, new ones at each call."""
    names: dict[str, Any] = {}
    for block in BY_NAME[page].blocks:
        exec(compile(block.text, str(block), "exec"), names)
    return names
