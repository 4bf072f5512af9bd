"""The floor plan: which room may import which. An arrow that points up, or sideways, fails by name.

The table is the one of the design, for the rooms there are. A new file needs a place in it first.
"""

from __future__ import annotations

import ast
import functools
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import resilient

# Highest storey first. A room may import from lower storeys only, and within itself; rooms of one storey are strangers.
STOREYS: tuple[tuple[str, ...], ...] = (
    ("__main__",),
    ("cli",),
    ("__init__",),  # the face: names and __all__, nothing else
    ("integrations",),  # frameworks; those that have to be derived from are imported at the top
    ("waiting", "diagnosis"),
    ("clients",),  # guard(); optional libraries are imported inside functions
    ("decorators",),
    ("_sync", "_async"),
    ("_asking", "_handshakes"),
    ("_attempt",),
    ("_recovery",),
    ("policy",),
    ("breaker",),
    ("_parking",),
    ("backoff",),
    ("refusal",),
    ("logs",),
    ("pytest_plugin",),
    ("testing",),
    ("signatures",),
    ("_circuit",),
    ("_traces",),
    ("_causes",),
    ("failover",),
    # The ground. Four rooms import nothing of the house; an event names an endpoint, and an endpoint has its error.
    ("events",),
    ("endpoint",),
    ("errors", "clock", "_scrub", "_values", "_wrapping"),
)
TENACITY = {"backoff", "policy", "_recovery"}
PURE = {"_circuit", "_causes", "_values", "backoff", "refusal", "signatures", "errors", "events"}
"""Rooms that decide without doing: no clock, no lock, no I/O, no log."""
DOING = {"asyncio", "logging", "select", "selectors", "socket", "ssl", "subprocess", "threading", "time"}
INSIDE_FUNCTIONS = {"clock": {"trio"}}
"""Optional libraries that a room imports when they are used."""

FOLDER = Path(resilient.__file__).parent
LEVEL = {room: level for level, rooms in enumerate(reversed(STOREYS)) for room in rooms}


@dataclass(frozen=True)
class Import:
    """One import: `module` imports `target` in a line, at the top or inside a function, for good or for types only."""

    module: str
    target: str
    line: int
    in_function: bool
    for_types: bool
    name: str = ""

    @property
    def room(self) -> str:
        return room_of(self.module)

    def __str__(self) -> str:
        return f"{self.module}:{self.line} imports {self.target}"


def room_of(module: str) -> str:
    """The room of a module: its file or its folder directly below `resilient`."""
    _, *rooms = module.split(".")
    return rooms[0] if rooms else "__init__"


def module_of(path: Path) -> str:
    parts = path.relative_to(FOLDER.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@functools.cache
def sources() -> dict[str, str]:
    """Every module of the house, by name, as text."""
    return {module_of(path): path.read_text(encoding="utf-8") for path in sorted(FOLDER.rglob("*.py"))}


def imports_of(module: str, source: str, house: set[str]) -> list[Import]:
    """Every import of a module, wherever it stands."""
    package = module if any(other.startswith(f"{module}.") for other in house) else module.rpartition(".")[0]

    def base_of(node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        parents = package.split(".")
        return ".".join(parents[: len(parents) - node.level + 1] + ([node.module] if node.module else []))

    def walk(node: ast.AST, in_function: bool, for_types: bool) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(module, alias.name, node.lineno, in_function, for_types)
        elif isinstance(node, ast.ImportFrom):
            base = base_of(node)
            for alias in node.names:
                target = f"{base}.{alias.name}" if f"{base}.{alias.name}" in house else base
                yield Import(module, target, node.lineno, in_function, for_types, alias.name)
        in_function = in_function or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        typed = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for field, value in ast.iter_fields(node):
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    yield from walk(child, in_function, for_types or (typed and field == "body"))

    return list(walk(ast.parse(source), in_function=False, for_types=False))


@functools.cache
def all_imports() -> list[Import]:
    files = sources()
    return [found for module, source in files.items() for found in imports_of(module, source, set(files))]


def is_ours(module: str) -> bool:
    return module.partition(".")[0] == "resilient"


def upward_arrows(imports: list[Import]) -> list[str]:
    """Imports within the house that do not point down."""
    found = []
    for arrow in imports:
        if is_ours(arrow.target) and arrow.room != room_of(arrow.target):
            rise = LEVEL[room_of(arrow.target)] - LEVEL[arrow.room]
            if rise >= 0:
                found.append(f"{arrow}, which is {'above' if rise else 'on the same storey'}")
    return found


def strangers(imports: list[Import]) -> list[str]:
    """Imports of libraries from outside that the room may not have there."""
    found = []
    for arrow in imports:
        library = arrow.target.partition(".")[0]
        if is_ours(arrow.target) or library in sys.stdlib_module_names:
            continue
        allowed = (
            (library == "tenacity" and (arrow.room in TENACITY or (arrow.for_types and arrow.name == "RetryCallState")))
            or (library == "pytest" and arrow.room == "pytest_plugin")
            or (library == "typing_extensions" and arrow.for_types)
            or (arrow.room == "cli" and (arrow.in_function or arrow.for_types))
            or (arrow.room in ("clients", "waiting", "diagnosis") and (arrow.in_function or arrow.for_types))
            or (
                arrow.room == "integrations"
                and (arrow.in_function or arrow.for_types or _is_loaded_by_django(arrow.module))
            )
            or (arrow.in_function and library in INSIDE_FUNCTIONS.get(arrow.room, ()))
        )
        if not allowed:
            found.append(str(arrow))
    return found


def _is_loaded_by_django(module: str) -> bool:
    """Its files hold classes derived from Django's, and are loaded by Django, by name; its face is not."""
    return module.startswith("resilient.integrations.django.")


def test_every_file_has_a_place() -> None:
    """A new room is put into the table first, where it is seen."""
    assert {room_of(module) for module in sources()} - LEVEL.keys() == set()


def test_every_place_has_a_file() -> None:
    assert LEVEL.keys() - {room_of(module) for module in sources()} == set()


def test_no_room_has_two_places() -> None:
    assert len(LEVEL) == sum(map(len, STOREYS))


def test_no_arrow_points_up() -> None:
    """Nor sideways; also inside functions, and for types only."""
    assert upward_arrows(all_imports()) == []


def test_tenacity_is_in_three_rooms_and_no_client_is_in_any() -> None:
    """Optional libraries are imported inside functions; what is imported at the top everybody pays for."""
    assert strangers(all_imports()) == []


def test_tenacity_is_in_all_three() -> None:
    assert {arrow.room for arrow in all_imports() if arrow.target == "tenacity" and not arrow.for_types} <= TENACITY
    assert {arrow.room for arrow in all_imports() if arrow.target.startswith("tenacity")} >= TENACITY


def test_nothing_is_imported_by_a_computed_name() -> None:
    """Or the table would not see it.

    Files are looked up by name where there is one for each subcommand or client, and by the face, in a list of its own.
    """
    found = [
        f"{module}:{node.lineno}"
        for module, source in sources().items()
        if room_of(module) not in ("__init__", "cli", "clients", "signatures")
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call)
        and (getattr(node.func, "id", None) or getattr(node.func, "attr", None)) in {"__import__", "import_module"}
    ]
    assert found == []


def test_rooms_that_decide_do_nothing() -> None:
    """They import nothing with which one could."""
    assert [str(arrow) for arrow in all_imports() if arrow.room in PURE and arrow.target in DOING] == []


def test_the_face_has_no_code() -> None:
    """Names and `__all__`, and how to load those that are loaded when they are first asked for."""
    body = ast.parse(sources()["resilient"]).body
    assert isinstance(body[0], ast.Expr)
    code = [node for node in body[1:] if not isinstance(node, (ast.ImportFrom, ast.Import, ast.Assign))]
    for_types, *rest = [node for node in code if not isinstance(node, ast.Expr)]
    assert isinstance(for_types, ast.If)
    assert ast.unparse(for_types.test) == "typing.TYPE_CHECKING"
    assert all(isinstance(node, ast.ImportFrom) for node in for_types.body)
    assert [node.name for node in rest if isinstance(node, ast.FunctionDef)] == ["__getattr__", "__dir__"]
    assert len(rest) == 2


def test_what_is_loaded_later_is_what_type_checkers_see() -> None:
    """And each of these names is public."""
    (for_types,) = (node for node in ast.parse(sources()["resilient"]).body if isinstance(node, ast.If))
    seen = {
        name.name: node.module for node in for_types.body if isinstance(node, ast.ImportFrom) for name in node.names
    }
    assert seen == resilient._LATER
    assert set(seen) <= set(resilient.__all__)


def test_every_file_opens_with_its_caption() -> None:
    assert [module for module, source in sources().items() if not ast.get_docstring(ast.parse(source))] == []


# The tests of the tests: a check that cannot fail is none.


def imports_in(module: str, source: str) -> list[Import]:
    """The imports of these lines, if they stood in that module of the house."""
    return imports_of(module, source, set(sources()))


@pytest.mark.parametrize(
    ("module", "source", "said"),
    [
        ("resilient.clock", "from .events import Event", "resilient.clock:"),
        ("resilient.clock", "from . import policy", "imports resilient.policy, which is above"),
        ("resilient.refusal", "import resilient.policy", "imports resilient.policy, which is above"),
        ("resilient.policy", "from resilient._recovery import Plan", "imports resilient._recovery, which is above"),
        ("resilient._causes", "def late():\n    from .refusal import judge", "imports resilient.refusal"),
        ("resilient.errors", "if TYPE_CHECKING:\n    from .policy import Policy", "imports resilient.policy"),
        ("resilient._sync", "from ._async import again", "which is on the same storey"),
        ("resilient.signatures.redis", "from ..refusal import judge", "resilient.signatures.redis:"),
        ("resilient.logs", "from . import __version__", "imports resilient, which is above"),
        ("resilient.logs", "import resilient", "imports resilient, which is above"),
    ],
)
def test_an_arrow_that_points_up_is_caught(module: str, source: str, said: str) -> None:
    """By the module that has it, and the one it points to."""
    [arrow] = upward_arrows(imports_in(module, source))
    assert said in arrow
    assert arrow.startswith(f"{module}:")


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("resilient._recovery", "from .policy import Policy\nfrom . import clock, errors"),
        ("resilient.signatures.redis", "from ._signature import Rule\nfrom .. import _causes"),
        ("resilient.cli.demo", "from .. import Policy\nfrom . import _servers\nfrom resilient import cli"),
    ],
)
def test_an_arrow_that_points_down_is_not(module: str, source: str) -> None:
    assert upward_arrows(imports_in(module, source)) == []


@pytest.mark.parametrize(
    ("module", "source", "caught"),
    [
        ("resilient.refusal", "import tenacity", True),
        ("resilient.logs", "from tenacity import RetryCallState", True),
        ("resilient.logs", "if TYPE_CHECKING:\n    from tenacity import Retrying", True),
        ("resilient.logs", "if TYPE_CHECKING:\n    pass\nelse:\n    from tenacity import RetryCallState", True),
        ("resilient.logs", "if TYPE_CHECKING:\n    from tenacity import RetryCallState", False),
        ("resilient.signatures.redis", "import redis", True),
        ("resilient.signatures.redis", "def read():\n    from redis import Redis", True),
        ("resilient.signatures.redis", "from . import redis", False),
        ("resilient.cli.demo", "import psycopg", True),
        ("resilient.cli.demo", "def run():\n    import psycopg", False),
        ("resilient._async", "import trio", True),
        ("resilient.clock", "async def nap():\n    import trio", False),
        ("resilient.policy", "import tenacity.wait", False),
        ("resilient.testing", "import pytest", True),
    ],
)
def test_a_stranger_is_caught(module: str, source: str, caught: bool) -> None:
    """A library from outside, where it may not be."""
    assert len(strangers(imports_in(module, source))) == caught


def test_a_room_without_a_place_is_caught() -> None:
    assert room_of("resilient.helpers") not in LEVEL
    assert room_of("resilient.clients.redis") == "clients"
    assert room_of("resilient") == "__init__"
