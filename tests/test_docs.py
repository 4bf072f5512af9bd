"""What README and manual say is so: examples run, outputs are what is printed, tables are what the code has."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import dataclasses
import importlib.util
import inspect
import io
import logging
import os
import re
import runpy
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from importlib.metadata import entry_points
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import pytest
from pages import BY_NAME, PAGES, REFERENCE, REPOSITORY, Block, Page, code, section
from test_floor_plan import STOREYS

import resilient
import resilient.testing
from resilient import CircuitChanged, Endpoint, Policy, RetriesExhausted, TargetError, signatures
from resilient._circuit import OUTCOMES, TRANSITIONS
from resilient.testing import LateServer, fake_clock, recorded_events, refused_port

SERVERS_REQUIRED = os.environ.get("RESILIENT_REQUIRE_SERVERS") == "1"
CONNECT_FUNCTIONS = "docs/how-to/connect-functions.md"
TUTORIAL = "docs/tutorial.md"
CIRCUIT_BREAKER = "docs/how-to/circuit-breaker.md"

# Running the pages


class Stage:
    """Runs the blocks of one page in order, in one namespace."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.names: dict[str, Any] = {"__name__": "__main__"}
        self.missing: set[str] = set()
        self.output = io.StringIO()
        self.printed: str | None = None

    def play(self) -> None:
        # One stream for the whole page: a handler that a block sets up keeps the stream it was given.
        with contextlib.redirect_stdout(self.output), contextlib.redirect_stderr(self.output):
            for block in self.page.blocks:
                if block.language == "python":
                    self._check_all_shown(block)
                    self._play_one(block)
                elif "output" in block.marks:
                    self._check_output(block)
            self._check_all_shown(None)

    def clear(self) -> None:
        """Close what the page left open, as the end of its program would."""
        for value in self.names.values():
            if isinstance(value, (LateServer, socket.socket)):
                value.close()

    def _play_one(self, block: Block) -> None:
        # Blank lines before it, so that a traceback names the line of the page.
        text = "\n" * (block.line - 1) + block.text
        compile(text, block.page, "exec")
        needed = {name.strip() for name in block.marks.get("needs", "").split(",")} - {""}
        # kombu, once imported, has put an object without a spec in its place.
        missing = {name for name in needed if name not in sys.modules and importlib.util.find_spec(name) is None}
        self.missing |= missing
        if missing or "not run" in block.marks or "pytest" in block.marks:
            return
        if "file" in block.marks:
            Path(block.marks["file"]).write_text(block.text, encoding="utf-8")
            return
        clock = fake_clock() if block.marks.get("clock") == "fake" else contextlib.nullcontext()
        failed: BaseException | None = None
        with clock:
            try:
                self._run(text, block.page)
            except Exception as error:
                failed = error
        expected = block.marks.get("raises")
        if failed is not None and expected is None:
            raise failed
        assert expected is None or type(failed).__name__ == expected, f"{block} should raise {expected}, not {failed!r}"
        if failed is not None:
            self.output.write("".join(traceback.format_exception(failed)))
        self.printed = self.output.getvalue()
        self.output.seek(0)
        self.output.truncate()

    def _run(self, text: str, name: str) -> None:
        if self.page.name != TUTORIAL:
            exec(compile(text, name, "exec"), self.names)
            return
        for statement in ast.parse(text).body:  # as at the prompt, where the value of an expression is shown
            exec(compile(ast.Interactive([statement]), name, "single"), self.names)

    def _check_output(self, block: Block) -> None:
        if self.missing:
            self.printed = None
            return
        assert self.printed is not None, f"{block}: no block above it printed anything"
        assert _pattern(block.text).fullmatch(_masked(self.printed)), (
            f"{block} shows\n{block.text}\nand what was printed is\n{self.printed}"
        )
        self.printed = None

    def _check_all_shown(self, block: Block | None) -> None:
        assert not self.printed, (
            f"{self.page}: before {block or 'the end'} something was printed that is not shown:\n{self.printed}"
        )


def _masked(text: str) -> str:
    text = text.replace("__main__.", "")  # how plain tenacity names a function, in its newer versions only
    return re.sub(r"\d+(?:\.\d+)?(?:e-?\d+)?", "N", text).rstrip() + "\n"


def _pattern(shown: str) -> re.Pattern[str]:
    parts: list[str] = []
    for line in _masked(shown).splitlines():
        if sys.version_info < (3, 11) and line.startswith("resilient: gave up"):
            continue  # notes are of 3.11
        parts.append(r"(?:.*\n)*?" if line.strip() == "..." else re.escape(line) + r"[ ]*\n")
    return re.compile("".join(parts))


@contextlib.contextmanager
def newcomers_process(folder: Path) -> Iterator[None]:
    """A process as a newcomer has it: no logging configured, an empty folder. All is put back afterwards.

    Not a fixture, because pytest hangs its own handlers into the root logger after the fixtures are set up.
    """
    root, ours = logging.getLogger(), logging.getLogger("resilient")
    before = root.handlers[:], root.level, ours.handlers[:], ours.level, ours.propagate
    on_term, environment, here = signal.getsignal(signal.SIGTERM), dict(os.environ), Path.cwd()
    root.handlers[:] = []
    root.setLevel(logging.WARNING)
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    modules, path = set(sys.modules), sys.path
    try:
        yield
    finally:
        path.remove(str(folder))
        for name in set(sys.modules) - modules:
            if (getattr(sys.modules[name], "__file__", None) or "").startswith(str(folder)):
                del sys.modules[name]
        signatures._taught.clear()
        signatures._found.clear()
        root.handlers[:], level, ours.handlers[:], our_level, ours.propagate = before
        root.setLevel(level)
        ours.setLevel(our_level)
        signal.signal(signal.SIGTERM, on_term)
        os.environ.clear()
        os.environ.update(environment)
        os.chdir(here)


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if page.name != CONNECT_FUNCTIONS and any(b.language == "python" for b in page.blocks)],
    ids=str,
)
def test_examples_run_and_print_what_the_page_shows(page: Page, tmp_path: Path) -> None:
    stage = Stage(page)
    with newcomers_process(tmp_path):
        try:
            stage.play()
        finally:
            stage.clear()
    _say_loudly(page, stage.missing)


def _say_loudly(page: object, missing: set[str]) -> None:
    if not missing:
        return
    message = f"{page}: not all examples ran, for want of {', '.join(sorted(missing))}"
    if SERVERS_REQUIRED:
        pytest.fail(message)
    pytest.skip(message)


def test_blocks_that_are_not_run_are_few() -> None:
    assert sum("not run" in block.marks for page in PAGES for block in page.blocks) <= 2


@pytest.mark.parametrize(
    "page", [page for page in PAGES if any("pytest" in block.marks for block in page.blocks)], ids=str
)
def test_tests_on_a_page_pass(page: Page, tmp_path: Path) -> None:
    text = "\n".join(block.text for block in page.blocks if "pytest" in block.marks)
    (tmp_path / "test_page.py").write_text(text, encoding="utf-8")
    answer = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-W",
            "error",
            "-p",
            "no:cacheprovider",
            "-p",
            "resilient.pytest_plugin",
        ],
        cwd=tmp_path,
        # Only our plugin, named by hand: it may or may not be installed here, and others take seconds to load.
        env={
            **os.environ,
            "PYTHONPATH": str(Path(resilient.__file__).parent.parent),
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    wanted = len(re.findall(r"^def test_", text, re.MULTILINE))
    assert f"{wanted} passed" in answer.stdout, answer.stdout + answer.stderr


# The page on connect functions: every client, against a port that refuses and against a real server

CLIENTS = ("asyncpg", "psycopg", "psycopg2", "pymysql", "redis", "sqlalchemy")


@pytest.fixture
def servers() -> Iterator[Any]:
    """A PostgreSQL and a Valkey that are not started yet; None where this machine has none."""
    with contextlib.ExitStack() as stack:
        try:
            from resilient.cli._servers import PostgresServer, ServerError, ValkeyServer
        except ImportError:  # no POSIX
            yield None
            return
        try:
            database, cache = stack.enter_context(PostgresServer()), stack.enter_context(ValkeyServer())
        except ServerError:
            yield None
            return
        yield SimpleNamespace(database=database, cache=cache)


def _use(value: Any) -> None:
    """Make a connection, pool or engine answer, and close it."""
    if hasattr(value, "ping"):
        value.ping()
        value.close()
        value.connection_pool.disconnect()
    elif hasattr(value, "dispose"):
        value.connect().close()
        value.dispose()
    else:
        value.close()


async def _use_async(value: Any) -> None:
    """Twin of `_use`."""
    if hasattr(value, "ping"):
        await value.ping()
        await value.aclose()
        await value.connection_pool.disconnect()
    elif hasattr(value, "dispose"):
        await (await value.connect()).close()
        await value.dispose()
    else:
        await value.close()


def _connect_functions(names: dict[str, Any]) -> dict[str, Any]:
    """What the page defines, each as a function that connects, asks something and closes."""

    def opened(name: str, *args: Any, **settings: Any) -> Callable[[], None]:
        return lambda: _use(names[name](*args, **settings))

    def awaited(name: str, *, ready: bool = False) -> Callable[[], None]:
        async def main() -> None:
            value = names[name] if name == "async_engine" else names[name]()
            await _use_async(value if ready else await value)

        return lambda: asyncio.run(main())

    return {
        "psycopg": opened("connect_psycopg"),
        "psycopg, async": awaited("connect_psycopg_async"),
        "psycopg, imported": opened("connect", names["database"], connect_timeout=5),
        "psycopg2": opened("connect_psycopg2"),
        "asyncpg": awaited("open_one"),
        "asyncpg, pool": awaited("open_pool"),
        "redis": opened("connect_redis"),
        "redis, patient": opened("patient_redis"),
        "redis, patient, async": awaited("patient_redis_async", ready=True),
        "sqlalchemy": lambda: _use(names["engine"]),
        "sqlalchemy, async": awaited("async_engine", ready=True),
        "pymysql": opened("connect_pymysql"),
    }


def test_connect_functions_wait_for_their_server_and_reach_it(
    servers: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each client waits for a server that is down until the deadline, and connects once it is up."""
    absent = {name for name in CLIENTS if name not in sys.modules and importlib.util.find_spec(name) is None}
    if absent:
        _say_loudly(CONNECT_FUNCTIONS, absent)
    with refused_port() as nobody:
        down = f"postgresql://postgres@127.0.0.1:{nobody}/postgres", f"redis://127.0.0.1:{nobody}/0"
        database, cache = down if servers is None else (servers.database.url, servers.cache.url)
        monkeypatch.setenv("DATABASE_URL", database)
        monkeypatch.setenv("REDIS_URL", cache)
        monkeypatch.setenv("MYSQL_HOST", "127.0.0.1")
        monkeypatch.setenv("MYSQL_PORT", str(nobody))
        monkeypatch.setenv("DB_RETRY", "deadline=5s retry=not_ready,unresolved,unreachable")
        stage = Stage(BY_NAME[CONNECT_FUNCTIONS])
        with newcomers_process(tmp_path):
            stage.play()
        functions = _connect_functions(stage.names)
        for name, function in functions.items():
            with fake_clock() as clock, recorded_events() as events:
                with pytest.raises(Exception, match=r"(?i)refused|connect"):
                    function()
                ends = events.of(RetriesExhausted)
            assert [end.kind for end in ends] == ["refused"], name
            assert ends[0].attempt > 5, name
            assert ends[0].target is not None, name
            assert clock.now() == pytest.approx(5), name
        if servers is None:
            _say_loudly(CONNECT_FUNCTIONS, {"a PostgreSQL and a Valkey server"})
        starting = [threading.Thread(target=server.start) for server in (servers.database, servers.cache)]
        for thread in starting:
            thread.start()
        for name, function in functions.items():
            if name != "pymysql":  # there is no MySQL in a wheel
                function()
        for thread in starting:
            thread.join()


# Names, defaults, tables

PUBLIC = [name for name in resilient.__all__ if name != "__version__"]


def test_every_public_name_has_its_section_and_its_line_in_the_index() -> None:
    index = {code(row[0]): row[0] for row in BY_NAME["docs/reference/index.md"].tables[0].rows}
    assert sorted(index) == sorted(resilient.__all__)
    for name in PUBLIC:
        page = next(page for page in REFERENCE if any(part.title == f"`{name}`" for part in page.sections))
        assert section(f"`{name}`")
        assert f"({page.path.name}#{name.lower()})" in index[name]


def _parameters(thing: Any) -> dict[str, Any]:
    """Names and defaults of what can be given by name."""
    if isinstance(thing, type) and hasattr(thing, "_fields"):
        return dict.fromkeys(thing._fields, dataclasses.MISSING)
    if dataclasses.is_dataclass(thing):
        return {field.name: field.default for field in dataclasses.fields(thing)}
    return {
        parameter.name: parameter.default
        for parameter in inspect.signature(thing).parameters.values()
        if parameter.kind in (parameter.KEYWORD_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    }


def _evaluated(text: str) -> Any:
    return eval(text, {**vars(resilient), "logging": logging})


def _documented() -> Iterator[tuple[str, Any]]:
    for name in PUBLIC:
        yield name, getattr(resilient, name)
    for name in resilient.testing.__all__:
        yield f"testing.{name}", getattr(resilient.testing, name)


@pytest.mark.parametrize(("name", "thing"), list(_documented()))
def test_tables_of_fields_and_parameters_are_whole_and_their_defaults_true(name: str, thing: Any) -> None:
    tables = [
        table for table in section(f"`{name.rpartition('.')[2]}`").tables if table.header[0] in ("field", "parameter")
    ]
    if not tables:
        assert not dataclasses.is_dataclass(thing), f"{name} has fields and no table of them"
        takes_settings = inspect.isfunction(thing) and any(
            parameter.default is not parameter.empty for parameter in inspect.signature(thing).parameters.values()
        )
        assert not takes_settings, f"{name} has parameters and no table of them"
        return
    expected = _parameters(thing)
    table = tables[0]
    assert [code(cell) for cell in table.column(table.header[0])] == list(expected), f"{table.page}:{table.line}"
    if "default" not in table.header:
        defaults = {
            key for key, value in expected.items() if value not in (dataclasses.MISSING, inspect.Parameter.empty)
        }
        assert not defaults, f"{name} has defaults and its table has none"
        return
    for cell, (parameter, default) in zip(table.column("default"), expected.items(), strict=True):
        if default is inspect.Parameter.empty:
            assert cell == "none", f"{name}.{parameter} has no default, and the page says {cell}"
            continue
        assert _evaluated(code(cell)) == default, f"{name}.{parameter} is {default!r}, and the page says {cell}"


@pytest.mark.parametrize(
    "name",
    [
        *(name for name in PUBLIC if isinstance(getattr(resilient, name), type)),
        "FakeClock",
        "LateServer",
        "RecordedEvents",
    ],
)
def test_every_public_member_of_a_class_is_named_in_its_section(name: str) -> None:
    thing = getattr(resilient, name, None) or getattr(resilient.testing, name)
    text = section(f"`{name}`").text
    own = {member for base in thing.__mro__ if base.__module__.startswith("resilient") for member in vars(base)}
    for member in sorted(own):
        if not member.startswith("_"):
            assert re.search(rf"[`.]{member}\b", text), f"{name}.{member} is not named in its section"


def test_members_that_the_testing_page_names_exist() -> None:
    for name in ("FakeClock", "LateServer", "RecordedEvents"):
        with fake_clock() as clock, resilient.testing.late_server() as server, recorded_events() as events:
            thing = {"FakeClock": clock, "LateServer": server, "RecordedEvents": events}[name]
            for cell in section(f"`{name}`").tables[0].column("member"):
                assert hasattr(thing, code(cell).partition("(")[0]), f"{name} has no {cell}"


def test_presets_are_as_the_table_says() -> None:
    table = section("Presets").tables[0]
    assert len(table.rows) == 3
    for row in table.rows:
        preset, *values = (_evaluated(code(cell)) for cell in row)
        assert preset == Policy(**dict(zip(map(code, table.header[1:]), values, strict=True)))


def test_keys_of_a_policys_text_are_as_the_table_says() -> None:
    keys, words = BY_NAME["docs/reference/policy-text.md"].tables[:2]
    for key, default in zip(map(code, keys.column("key")), keys.column("default"), strict=True):
        if "`" in default:
            assert Policy.parse(f"{key}={code(default)}") == Policy(), key
    assert "name" in [code(cell) for cell in keys.column("key")]
    with pytest.raises(resilient.PolicyError) as refused:
        Policy.parse("no_such_key=1")
    assert str(refused.value).endswith("the keys are " + ", ".join(map(code, keys.column("key"))))
    for word, strategy in words.rows:
        if (name := code(word)) not in ("exhausted", "never"):
            shown = re.findall(r"`([^`]+)`", strategy)[0]
            assert Policy.parse(f"retry={name}").retry == _evaluated(shown)
            assert Policy.parse(f"retry={name},exhausted").retry == _evaluated(shown.replace("()", "(exhausted=True)"))
    with pytest.raises(resilient.PolicyError) as refused:
        Policy.parse("retry=no_such_word")
    assert set(re.findall(r"\w+", str(refused.value))) >= {code(word) for word in words.column(words.header[0])}


def test_durations_in_a_policys_text_have_the_units_that_the_page_names() -> None:
    text = next(line for line in BY_NAME["docs/reference/policy-text.md"].prose if line.startswith("A **duration**"))
    for duration in ("50ms", "1.5s", "5m", "2h"):
        assert f"`{duration}`" in text
        assert (
            Policy.parse(f"deadline={duration}").deadline
            == {"50ms": 0.05, "1.5s": 1.5, "5m": 300.0, "2h": 7200.0}[duration]
        )


def test_targets_are_read_as_the_table_says() -> None:
    forms, refused = BY_NAME["docs/reference/targets.md"].tables[:2]
    for text, read in forms.rows:
        assert str(Endpoint.parse(code(text))) == code(read)
    for text, says in refused.rows:
        with pytest.raises(TargetError, match=re.escape(says)):
            Endpoint.parse(code(text))


def test_default_ports_are_as_the_table_says() -> None:
    from resilient.endpoint import DEFAULT_PORTS

    table = section("Default ports", page="docs/reference/targets.md").tables[0]
    assert {code(scheme): int(port) for scheme, port in table.rows} == DEFAULT_PORTS
    for scheme, port in table.rows:
        assert Endpoint.parse(f"{code(scheme)}://host").port == int(port)


EVENTS: dict[str, dict[str, Any]] = {
    "RetryScheduled": {
        "delay": 1.0,
        "kind": "refused",
        "error_type": "E",
        "error_text": "t",
        "attempts": None,
        "deadline": 60.0,
    },
    "CallRecovered": {},
    "FailedOver": {
        "next_target": resilient.Endpoint(host="db-b", port=5432),
        "kind": "refused",
        "error_type": "E",
        "error_text": "t",
    },
    "RetriesExhausted": {"kind": "refused", "error_type": "E", "error_text": "t", "reason": "deadline 60 s"},
    "CallParked": {
        "breaker": "db",
        "parked": 1,
        "kind": "refused",
        "error_type": "E",
        "error_text": "t",
        "deadline": 60.0,
    },
    "CallRejected": {"breaker": "db", "state": "open", "retry_after": None, "error_text": "t"},
    "CircuitChanged": {"breaker": "db", "epoch": 1, "cooldown": 0.1, "error_text": "t"},
}


def _told(told: str) -> dict[str, Any]:
    """The fields that a row of the table of levels tells apart."""
    name, *words = re.findall(r"`([^`]+)`", told)
    if name in ("RetryScheduled", "FailedOver", "CallParked"):
        return {"heartbeat": "without" not in told}
    if name == "CircuitChanged":
        previous, state = next((before, after) for (before, word), after in TRANSITIONS.items() if word == words[0])
        openings = 2 if told.endswith(" again") else 1
        return {"reason": words[0], "previous": previous, "state": state, "openings": openings}
    return {}


def test_log_records_have_the_levels_and_fields_of_the_tables(caplog: pytest.LogCaptureFixture) -> None:
    common: dict[str, Any] = {"call": "connect", "policy": None, "target": None, "attempt": 1, "elapsed": 0.0}
    levels = section("`log_events`").tables[0]
    fields = section("Log records").tables[0]
    with caplog.at_level(logging.DEBUG, logger="resilient"):
        for told, level in levels.rows:
            name = code(told.partition(" ")[0])
            caplog.clear()
            resilient.log_events(getattr(resilient, name)(**common, **EVENTS[name], **_told(told)))
            if level == "none":
                assert not caplog.records
                continue
            record = caplog.records[0]
            assert record.levelname == level
            wanted = {code(field) for field, events in fields.rows if events.startswith("all") or name in events}
            assert {key for key in vars(record) if key.startswith("resilient_")} == wanted


def test_every_event_has_its_level_in_the_table() -> None:
    """And of a circuit's changes, every one of them."""
    rows = section("`log_events`").tables[0].column("event")
    events = {name for name in PUBLIC if isinstance(thing := getattr(resilient, name), type) and thing in _events()}
    assert {re.findall(r"`([^`]+)`", row)[0] for row in rows} == events
    changes = [re.findall(r"`([^`]+)`", row)[1] for row in rows if row.startswith("`CircuitChanged`")]
    assert set(changes) == {word for _, word in TRANSITIONS}


def _events() -> set[type]:
    return set(resilient.Event.__subclasses__())


def test_the_page_on_judging_names_what_the_judge_knows() -> None:
    from resilient._causes import CARRIERS
    from resilient.signatures import asyncpg, pymysql

    page = BY_NAME["docs/reference/judging.md"]
    places = [page.text.index(f"`{carrier}`") for carrier in CARRIERS]
    assert places == sorted(places)
    kinds = [code(cell).strip('"') for cell in section("Kinds", page=page.name).tables[0].column("kind")]
    assert kinds == [kind for kind in get_args(signatures.Kind) if kind not in ("hidden", "other")]
    clients = section("Clients whose own words are known", page=page.name).tables[0]
    rows = {row[0]: row for row in clients.rows}
    assert {int(number) for number in re.findall(r"\d+", rows["PyMySQL"][2])} == pymysql.NOT_READY
    assert {int(number) for number in re.findall(r"\d+", rows["PyMySQL"][3])} == pymysql.HOPELESS
    states = {
        kind: {state for rule in asyncpg.SIGNATURE.rules if rule.kind == kind for state in rule.codes} for kind in kinds
    }
    assert set(re.findall(r"\b[0-9A-Z]{5}\b", rows["asyncpg"][2])) == states["not_ready"]
    assert set(re.findall(r"\b[0-9A-Z]{5}\b", rows["asyncpg"][3])) == states["hopeless"]


def test_the_fixtures_are_those_of_the_table() -> None:
    from resilient import pytest_plugin

    table = BY_NAME["docs/reference/testing.md"].tables[0]
    fixtures = {code(cell) for cell in table.column("fixture")}
    defined = {name for name, thing in vars(pytest_plugin).items() if "fixture" in type(thing).__name__.lower()}
    assert fixtures == defined
    for manager in table.column("context manager"):
        shown = code(manager)
        name = shown.partition("(")[0]
        signature = inspect.signature(getattr(resilient.testing, name))
        plain = signature.replace(
            parameters=[parameter.replace(annotation=parameter.empty) for parameter in signature.parameters.values()],
            return_annotation=signature.empty,
        )
        assert shown == name + str(plain).replace("'", '"')


def test_the_floor_plan_in_the_manual_is_the_one_that_is_tested() -> None:
    table = section("The floor plan", page="docs/explanation/how-it-decides.md").tables[0]
    rows = [tuple(name.strip("/") for name in re.findall(r"`([^`]+)`", cell)) for cell in table.column("modules")]
    assert rows == list(STOREYS)


# The circuit breaker

EDGE = re.compile(r"(\S+) +--([a-z ]+)--> +(\S+)")


def _is_diagram(block: Block) -> bool:
    return block.page == CIRCUIT_BREAKER and block.language == "text" and "-->" in block.text


def test_the_diagram_of_the_circuit_has_every_edge_and_no_other() -> None:
    diagrams = [block for block in BY_NAME[CIRCUIT_BREAKER].blocks if _is_diagram(block)]
    assert len(diagrams) == 1
    drawn = [EDGE.fullmatch(line) for line in diagrams[0].text.splitlines() if line]
    assert None not in drawn, "a line of the diagram is no edge"
    edges = [((edge[1], edge[2]), edge[3]) for edge in drawn if edge is not None]
    assert len(edges) == len(TRANSITIONS)
    assert dict(edges) == dict(TRANSITIONS)


def test_states_outcomes_and_reasons_are_all_on_the_pages() -> None:
    states = section("States").tables[0].column("state")
    assert states == list(dict.fromkeys(state for state, _ in TRANSITIONS))
    assert [code(cell).strip('"') for cell in section("Outcomes").tables[0].column("outcome")] == list(OUTCOMES)
    reasons = section(f"`{CircuitChanged.__name__}`").text
    for _, word in TRANSITIONS:
        assert f'`"{word}"`' in reasons


def test_the_settings_of_a_breaker_have_the_same_defaults_on_both_pages() -> None:
    short = section("Defaults", page=CIRCUIT_BREAKER).tables[0]
    whole = section("`CircuitBreaker`").tables[0]
    defaults = dict(zip(whole.column("parameter"), whole.column("default"), strict=True))
    del defaults["`name`"]
    assert dict(zip(short.column("setting"), short.column("default"), strict=True)) == defaults


# Links, commands, settings of Sphinx


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_links_and_anchors_lead_somewhere(page: Page) -> None:
    assert page.anchors is not None
    for number, link in page.links:
        if link.startswith("https://"):
            continue
        file, _, anchor = link.partition("#")
        target = (page.path.parent / file).resolve() if file else page.path
        assert target.exists(), f"{page}:{number}: there is no {link}"
        if anchor:
            name = target.relative_to(REPOSITORY).as_posix()
            assert anchor in BY_NAME[name].anchors, f"{page}:{number}: {name} has no heading #{anchor}"


def test_every_page_of_the_manual_is_in_the_contents() -> None:
    index = BY_NAME["docs/index.md"]
    listed = {line for block in index.blocks for line in block.text.splitlines() if line and not line.startswith(":")}
    pages = {page.name[len("docs/") : -len(".md")] for page in PAGES if page.name.startswith("docs/")}
    assert pages - {"index"} <= listed
    assert {
        line
        for block in index.blocks
        if "toctree" in block.language
        for line in block.text.splitlines()
        if line and line[0] != ":"
    } <= pages


DJANGO_COMMANDS = REPOSITORY / "resilient" / "integrations" / "django" / "management" / "commands"
PLAIN = ("python", "text", "yaml", "sh", "dockerfile")
"""What `resilient wait` is told in recipes for containers is checked with the command line."""


def test_commands_on_the_pages_exist() -> None:
    """Each line of each shell block is of a kind that can be checked, and is right."""
    from resilient.cli import COMMANDS

    project = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    distribution = re.search(r'^name = "(.+)"', project, re.MULTILINE)
    assert distribution is not None
    extras = set(re.findall(r"^(\w+) = \[", project.partition("optional-dependencies]")[2], re.MULTILINE))
    targets = set(re.findall(r"^(\w[\w-]*):", (REPOSITORY / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    checks = {
        r"python -m pip install (resilient-connect)": lambda name: name == distribution[1],
        r'python -m pip install "resilient-connect\[(\w+)\]"': lambda extra: extra in extras,
        r"python -m pip uninstall --yes resilient (resilient-connect)": lambda name: name == distribution[1],
        r"make ([\w-]+)": lambda target: target in targets,
        r"python manage\.py (wait_for_db).*": lambda command: (DJANGO_COMMANDS / f"{command}.py").exists(),
        r"resilient (\w+)(?: .*)?": lambda command: command in COMMANDS,
        r'export (\w+)_RETRY="(?:.*)"': lambda prefix: prefix.isidentifier(),
        r"python -m pytest -p (\w+)": lambda name: name in {it.name for it in entry_points(group="pytest11")},
        r"(python)": lambda _: True,
        r"python -m (venv) \.venv": lambda _: True,
        r"(\. \.venv/bin/activate)": lambda _: True,
    }
    for page in PAGES:
        for block in page.blocks:
            if block.language == "console":
                for line in block.text.splitlines():
                    found = [(match, check) for form, check in checks.items() if (match := re.fullmatch(form, line))]
                    assert found, f"{block}: {line!r} is of no kind that this test can check"
                    assert found[0][1](found[0][0][1]), f"{block}: {line!r} is wrong"
                    if line.startswith("export "):
                        Policy.parse(line.partition('"')[2].rstrip('"'))
            else:
                assert block.language in (*PLAIN, "{toctree}", "{include} ../CHANGELOG.md"), block


def test_texts_of_policies_in_plain_blocks_can_be_read() -> None:
    for page in PAGES:
        for block in page.blocks:
            if block.language == "text" and "output" not in block.marks and not _is_diagram(block):
                assert Policy.parse(block.text)


def test_sphinx_takes_its_version_from_the_package() -> None:
    settings = runpy.run_path(str(REPOSITORY / "docs/conf.py"))
    assert settings["version"] == settings["release"] == resilient.__version__


def test_the_name_clash_is_said_first() -> None:
    first = next(line for line in BY_NAME["README.md"].prose[1:] if line)
    assert "`resilient-connect`" in first
    assert "`resilient`" in first
    install = section("The name clash", page="docs/install.md")
    assert "Do not install both" in install.text


def test_the_changelog_has_a_place_for_what_is_not_released() -> None:
    assert section("[Unreleased]", page="CHANGELOG.md").level == 2


def test_the_glossary_is_in_order() -> None:
    words = [part.title.lower() for part in BY_NAME["docs/glossary.md"].sections if part.level == 2]
    assert words == sorted(words)
