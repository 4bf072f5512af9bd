"""One changed place at a time: a module's source in, its mutants out.

Pure: text in, text out. A place is replaced in the text itself, so that all else stays as it was written.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

COMPARISONS: dict[type[ast.cmpop], tuple[str, ...]] = {
    ast.Lt: ("<=", ">="),
    ast.LtE: ("<", ">"),
    ast.Gt: (">=", "<="),
    ast.GtE: (">", "<"),
    ast.Eq: ("!=",),
    ast.NotEq: ("==",),
    ast.Is: ("is not",),
    ast.IsNot: ("is",),
    ast.In: ("not in",),
    ast.NotIn: ("in",),
}
OPERATORS: dict[type[ast.operator], str] = {
    ast.Add: "-",
    ast.Sub: "+",
    ast.Mult: "/",
    ast.Div: "*",
    ast.FloorDiv: "*",
    ast.Mod: "*",
    ast.Pow: "*",
    ast.BitOr: "&",
    ast.BitAnd: "|",
}


@dataclass(frozen=True)
class Mutant:
    """A module with one place changed.

    Attributes:
        file: the module's file, relative to the package's folder.
        function: the function or class it is in, with dots; "-" at the top.
        before: the lines that are changed, in one.
        after: what they became.
        source: the whole file.
        lines: the numbers of the first and the last of the lines that are changed.
        nth: among the mutants of the function with the same two texts, counted from 1.
    """

    file: str
    function: str
    before: str
    after: str
    source: str
    lines: tuple[int, int] = (1, 1)
    nth: int = 1

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What it is found by in the list of survivors: no line numbers."""
        function = self.function if self.nth == 1 else f"{self.function} #{self.nth}"
        return self.file, function, self.before, self.after


def mutants_of(file: str, source: str) -> list[Mutant]:
    """Every mutant of one file, each source once."""
    text = source.encode()
    starts = [0]
    for line in text.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    found: list[Mutant] = []
    sources, counted = {source}, Counter[tuple[str, str, str, str]]()
    for function, start, end, new in _Places(text, starts).of(ast.parse(source)):
        changed = (text[:start] + new.encode() + text[end:]).decode()
        if changed in sources or not _compiles(changed):
            continue
        sources.add(changed)
        first = text.rfind(b"\n", 0, start) + 1
        last = text.find(b"\n", end)
        before = _in_one_line(text[first:last])
        after = _in_one_line(text[first:start] + new.encode() + text[end:last])
        lines = text.count(b"\n", 0, start) + 1, text.count(b"\n", 0, end) + 1
        mutant = Mutant(file, function, before, after, changed, lines)
        counted[mutant.key] += 1
        found.append(replace(mutant, nth=counted[mutant.key]))
    return found


def _in_one_line(text: bytes) -> str:
    return " ".join(text.decode().split())


def _compiles(source: str) -> bool:
    try:
        compile(source, "mutant", "exec", dont_inherit=True)
    except (SyntaxError, ValueError):
        return False
    return True


Place = tuple[str, int, int, str]
"""The function it is in, first byte, the byte after the last, the new text."""


class _Places:
    def __init__(self, text: bytes, starts: list[int]) -> None:
        self.text = text
        self.starts = starts

    def span(self, node: ast.AST) -> tuple[int, int]:
        start = self.starts[node.lineno - 1] + node.col_offset  # type: ignore[attr-defined]
        return start, self.starts[node.end_lineno - 1] + node.end_col_offset  # type: ignore[attr-defined]

    def said(self, node: ast.AST) -> str:
        start, end = self.span(node)
        return self.text[start:end].decode()

    def of(self, tree: ast.Module) -> Iterator[Place]:
        yield from self.walk(tree, "-")

    def walk(self, node: ast.AST, function: str) -> Iterator[Place]:
        if _is_for_types(node):
            for child in getattr(node, "orelse", ()):
                yield from self.walk(child, function)
            return
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            function = node.name if function == "-" else f"{function}.{node.name}"
        if hasattr(node, "lineno") or isinstance(node, ast.keyword):
            for start, end, new in self.changes(node):
                yield function, start, end, new
        for name, value in ast.iter_fields(node):
            if name in ("annotation", "returns", "type_params"):
                continue
            # The text of an f-string has no place of its own before Python 3.12.
            children = [value] if isinstance(value, ast.AST) else value if isinstance(value, list) else []
            for child in children:
                if not isinstance(child, ast.AST) or (isinstance(node, ast.JoinedStr) and _is_text(child)):
                    continue
                # `is 0` is a SyntaxWarning, and would be killed for that.
                if not (isinstance(node, ast.Compare) and _is_none(child)):
                    yield from self.walk(child, function)

    def changes(self, node: ast.AST) -> Iterator[tuple[int, int, str]]:
        """What may become of this one node."""
        start, end = self.span(node)
        if isinstance(node, ast.Compare):
            yield from self.comparisons(node)
        elif isinstance(node, ast.BoolOp):
            yield from self.conditions(node)
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            yield start, end, f"({self.said(node.operand)})"
        elif isinstance(node, (ast.If, ast.While, ast.IfExp)):
            test = self.span(node.test)
            if not isinstance(node.test, (ast.Compare, ast.BoolOp, ast.UnaryOp)):
                yield *test, f"(not ({self.said(node.test)}))"
            yield *test, "False"
            if not isinstance(node, ast.While):
                yield *test, "True"
        elif isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
            if not (_is_text(node.left) or _is_text(node.right)):
                left, right = self.said(node.left), self.said(node.right)
                yield start, end, f"(({left}) {OPERATORS[type(node.op)]} ({right}))"
        elif isinstance(node, ast.AugAssign) and type(node.op) in OPERATORS:
            yield start, end, f"{self.said(node.target)} {OPERATORS[type(node.op)]}= {self.said(node.value)}"
        elif isinstance(node, ast.Constant):
            for new in _constants(node.value):
                yield start, end, new
        elif isinstance(node, ast.JoinedStr):
            yield start, end, '"XX"'
        elif isinstance(node, ast.Dict):
            yield from self.fewer(node, list(zip(node.keys, node.values, strict=True)))
        elif isinstance(node, ast.Call):
            yield from self.fewer(node, [(word, word) for word in node.keywords])
        if isinstance(node, ast.Return) and node.value and not _is_none(node.value):
            yield start, end, "return None"
        if isinstance(node, (ast.Break, ast.Continue)):
            yield start, end, "continue" if isinstance(node, ast.Break) else "break"
        if _may_go(node):
            yield start, end, "pass"

    def comparisons(self, node: ast.Compare) -> Iterator[tuple[int, int, str]]:
        left = node.left
        for operator, right in zip(node.ops, node.comparators, strict=True):
            for new in COMPARISONS[type(operator)]:
                yield self.span(left)[1], self.span(right)[0], self.between(left, right, operator, new)
            left = right

    def between(self, left: ast.AST, right: ast.AST, operator: ast.cmpop, new: str) -> str:
        """What stands between two operands, brackets and all, with another operator."""
        words = {ast.NotIn: "not in", ast.IsNot: "is not", ast.In: "in", ast.Is: "is", ast.NotEq: "!=", ast.Eq: "=="}
        words |= {ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">="}
        old = self.text[self.span(left)[1] : self.span(right)[0]].decode()
        return old.replace(words[type(operator)], new, 1)

    def conditions(self, node: ast.BoolOp) -> Iterator[tuple[int, int, str]]:
        """`and` for `or`; and each operand left out."""
        start, end = self.span(node)
        old, new = (" and ", " or ") if isinstance(node.op, ast.And) else (" or ", " and ")
        said = [f"({self.said(value)})" for value in node.values]
        yield start, end, f"({new.join(said)})"
        for gone in range(len(said)):
            yield start, end, f"({old.join(said[:gone] + said[gone + 1 :])})"

    def fewer(self, node: ast.AST, items: list[tuple[ast.AST | None, ast.AST]]) -> Iterator[tuple[int, int, str]]:
        """A dict or a call with one row or keyword left out, and the comma behind it."""
        closing = self.span(node)[1] - 1
        for index, (key, value) in enumerate(items):
            if key is None or (isinstance(key, ast.keyword) and key.arg is None):
                continue
            start, end = self.span(key)[0], self.span(value)[1]
            after = self.text[end:closing].decode().lstrip()
            if after.startswith(","):
                end += self.text[end:closing].index(b",") + 1
            elif index:
                start = self.span(items[index - 1][1])[1]
            yield start, end, ""


def _constants(value: object) -> tuple[str, ...]:
    if isinstance(value, bool):
        return (str(not value),)
    if isinstance(value, int):
        return str(value + 1), f"({value - 1})"
    if isinstance(value, float):
        return (repr(value + 1.0),)
    if isinstance(value, str):
        return (repr(f"XX{value}"),)
    return ("0",) if value is None else ()


def _may_go(node: ast.AST) -> bool:
    """Statements that may be left out. An assignment to a name may not: the next line would miss it."""
    if isinstance(node, ast.Expr):
        return isinstance(node.value, (ast.Call, ast.Await))
    if isinstance(node, ast.Assign):
        return isinstance(node.targets[0], (ast.Attribute, ast.Subscript))
    return isinstance(node, (ast.AugAssign, ast.Delete, ast.Raise, ast.Return))


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


def _is_none(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _is_for_types(node: ast.AST) -> bool:
    """Docstrings, imports, aliases and branches for type checkers (not their `else`): nothing that runs."""
    if isinstance(node, ast.If):
        return isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
    if isinstance(node, ast.AnnAssign):
        return node.value is None or (isinstance(node.annotation, ast.Name) and node.annotation.id == "TypeAlias")
    if isinstance(node, ast.Expr):
        return _is_text(node.value)
    return isinstance(node, (ast.Import, ast.ImportFrom))
