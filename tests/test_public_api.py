"""The face: every name is there, described and sorted, and importing it costs next to nothing."""

from __future__ import annotations

import copy
import dataclasses
import importlib.metadata
import inspect
import json
import pickle
import pkgutil
import re
import subprocess
import sys
from types import ModuleType
from typing import Any, get_origin

import pytest

import resilient
from resilient import CircuitOpenError, Endpoint, PolicyError, TargetError, testing

PUBLIC = {name: getattr(resilient, name) for name in resilient.__all__}
# Python 3.10 takes `Callable[[Event], None]` for a class.
TYPES = {name: value for name, value in PUBLIC.items() if inspect.isclass(value) and get_origin(value) is None}
CODE = {**TYPES, **{name: value for name, value in PUBLIC.items() if inspect.isfunction(value)}}


def test_all_is_sorted_and_says_nothing_twice() -> None:
    assert resilient.__all__ == sorted(set(resilient.__all__))


def test_all_is_whole() -> None:
    """Whatever the face imports is public; modules are not."""
    names = {
        name
        for name, value in vars(resilient).items()
        if not isinstance(value, ModuleType) and not name.startswith("_")
    }
    assert names | {"__version__"} == set(resilient.__all__)


@pytest.mark.parametrize(
    "name",
    [
        *["Attempt", "Backoff", "Cancellation", "Endpoint", "Event", "Observer", "Policy", "PolicyError", "Refusal"],
        *["TargetError", "RetryScheduled", "RetriesExhausted", "CallRecovered", "attempts", "retry_on_refused"],
        *["is_refused", "is_not_ready", "is_unresolved", "is_unreachable", "is_hopeless", "find_refusal"],
        *["retry_if_refused", "retry_if_not_ready", "retry_if_unresolved", "retry_if_unreachable"],
        *["log_events", "log_before_sleep", "__version__"],
        *["CircuitBreaker", "CircuitBreakers", "CircuitSnapshot", "CircuitOpenError", "Permit"],
        *["CallParked", "CallRejected", "CircuitChanged"],
        *["Diagnosis", "diagnose", "explain"],
        *["guard", "wait_for", "wait_for_async", "WaitTimeoutError", "NotServingError"],
    ],
)
def test_a_promised_name_is_there(name: str) -> None:
    """Names are kept: who removes one changes this list, and the changelog."""
    assert name in PUBLIC


def test_no_module_has_the_name_of_a_public_thing() -> None:
    """Or one of them would hide the other."""
    modules = {module.name for module in pkgutil.iter_modules(resilient.__path__)}
    assert not modules & set(resilient.__all__)


def has_content(thing: object) -> bool:
    """A docstring of its own, and not the signature that a dataclass makes up."""
    written = (vars(thing).get("__doc__") if inspect.isclass(thing) else thing.__doc__) or ""
    return len(written) > 10 and not written.startswith(f"{getattr(thing, '__name__', '')}(")


@pytest.mark.parametrize("name", CODE)
def test_a_public_name_is_described(name: str) -> None:
    assert has_content(CODE[name])


def members_of(kind: type) -> dict[str, Any]:
    """Public methods and properties that the class itself defines."""
    return {
        f"{kind.__name__}.{name}": value
        for name, value in vars(kind).items()
        if not name.startswith("_")
        and isinstance(value, (property, classmethod, staticmethod)) | inspect.isfunction(value)
    }


MEMBERS = {name: value for kind in TYPES.values() for name, value in members_of(kind).items()}
KIT = {name: getattr(testing, name) for name in testing.__all__}
KIT_MEMBERS = {name: it for kind in KIT.values() if inspect.isclass(kind) for name, it in members_of(kind).items()}


@pytest.mark.parametrize("name", [*MEMBERS, *KIT, *KIT_MEMBERS])
def test_a_public_member_and_the_testing_kit_are_described(name: str) -> None:
    assert has_content({**MEMBERS, **KIT, **KIT_MEMBERS}[name])


def test_public_things_say_they_are_of_this_house() -> None:
    """In tracebacks and pickles: their module exists and has them."""
    for name, value in CODE.items():
        assert value.__module__.partition(".")[0] == "resilient"
        assert getattr(sys.modules[value.__module__], name) is value


# Importing.

LOADED = "import sys; before = set(sys.modules); {}; import json; print(json.dumps(sorted(set(sys.modules) - before)))"
CLIENTS = {"aiohttp", "asyncpg", "django", "httpx", "psycopg", "psycopg2", "pymysql", "redis", "sqlalchemy", "valkey"}
SMALL = {"__future__", "errno", "shlex"}
"""Modules of the standard library that tenacity does not load and we do: a list that is not to grow unseen."""


def loaded_by(statement: str) -> set[str]:
    """The modules that a fresh interpreter loads for it."""
    result = subprocess.run(
        [sys.executable, "-c", LOADED.format(statement)], capture_output=True, text=True, check=True, timeout=60
    )
    return set(json.loads(result.stdout)) - {"json"}


@pytest.fixture(scope="module")
def extra() -> set[str]:
    """What `import resilient` loads and `import tenacity` does not."""
    ours, theirs = loaded_by("import resilient"), loaded_by("import tenacity")
    assert theirs <= ours, "tenacity is loaded at import, and not at the first failure"
    assert "tenacity" in theirs
    return {name for name in ours - theirs if name.partition(".")[0] != "resilient"}


def test_importing_it_loads_nothing_heavy(extra: set[str]) -> None:
    """No event loop, no TLS, no configuration of logging, no sockets, no client and no test framework."""
    heavy = {"asyncio", "ssl", "logging.config", "socket", "trio", "pytest", "argparse", *CLIENTS}
    assert not extra & heavy


def test_importing_it_loads_little_besides_tenacity(extra: set[str]) -> None:
    assert {name for name in extra if not name.startswith("json")} <= SMALL


def test_importing_it_loads_no_room_that_is_not_needed() -> None:
    loaded = loaded_by("import resilient")
    assert not loaded & {"resilient.testing", "resilient.pytest_plugin", "resilient.cli", "resilient.__main__"}


def test_the_plugin_imports_nothing_but_pytest_and_the_face() -> None:
    """It is loaded into every test run of an environment."""
    extra = loaded_by("import resilient, pytest; before |= set(sys.modules); import resilient.pytest_plugin")
    assert extra <= {"resilient.pytest_plugin"}


# Values.


def errors() -> list[Exception]:
    return [
        PolicyError("Policy.attempts must be at least 1, not 0"),
        TargetError("the target has no port"),
        CircuitOpenError("db"),
        CircuitOpenError("db", 1.5, "Connection refused"),
    ]


@pytest.mark.parametrize("error", errors(), ids=repr)
def test_an_error_pickles_and_copies_whole(error: Exception) -> None:
    """Class, arguments, text, attributes, notes: also across process pools, which pickle what a worker raises."""
    error.extra = "kept"  # type: ignore[attr-defined]
    twins = [pickle.loads(pickle.dumps(error, protocol)) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)]
    for twin in (*twins, copy.copy(error), copy.deepcopy(error)):
        assert type(twin) is type(error)
        assert twin.args == error.args
        assert str(twin) == str(error)
        assert vars(twin) == vars(error)


def test_errors_fit_into_handlers_that_exist() -> None:
    assert issubclass(PolicyError, ValueError)
    assert issubclass(TargetError, ValueError)
    assert issubclass(CircuitOpenError, ConnectionRefusedError)


def events() -> list[resilient.Event]:
    common: dict[str, Any] = {
        "call": "connect",
        "policy": "db",
        "target": Endpoint(host="db", port=5432),
        "attempt": 1,
        "elapsed": 0.5,
    }
    error: dict[str, Any] = {
        "kind": "refused",
        "error_type": "ConnectionRefusedError",
        "error_text": "[Errno 111] Connection refused",
    }
    return [
        resilient.RetryScheduled(**common, **error, delay=0.1, attempts=None, deadline=60.0, heartbeat=True),
        resilient.CallRecovered(**common),
        resilient.FailedOver(**common, **error, next_target=Endpoint(host="db-b", port=5432), heartbeat=True),
        resilient.RetriesExhausted(**common, **error, reason="deadline 60 s"),
        resilient.CallParked(**common, **error, breaker="db", parked=3, deadline=60.0, heartbeat=True),
        resilient.CallRejected(
            **common, breaker="db", state="open", retry_after=0.5, error_text="[Errno 111] Connection refused"
        ),
        resilient.CircuitChanged(
            **common,
            breaker="db",
            state="open",
            previous="closed",
            epoch=1,
            reason="tripped",
            cooldown=0.1,
            openings=1,
            error_text="[Errno 111] Connection refused",
        ),
    ]


@pytest.mark.parametrize("event", events(), ids=lambda event: type(event).__name__)
def test_an_event_is_a_frozen_value(event: resilient.Event) -> None:
    """It cannot be changed, compares and hashes by value, pickles, and takes its fields by name."""
    for name in vars(event):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(event, name, None)
        with pytest.raises(dataclasses.FrozenInstanceError):
            delattr(event, name)
    twin = pickle.loads(pickle.dumps(event))
    assert twin == event
    assert hash(twin) == hash(event)
    assert copy.copy(event) == copy.deepcopy(event) == event
    assert type(event)(**{**vars(event), "attempt": 2}) != event
    with pytest.raises(TypeError):
        type(event)("connect")  # type: ignore[call-arg]
    for wrong in ({"call": "connect"}, {**vars(event), "another": 1}):
        with pytest.raises(TypeError, match="call, policy, target, attempt, elapsed"):
            type(event)(**wrong)  # type: ignore[arg-type]


def test_every_event_is_tried_above() -> None:
    kinds = {value for value in TYPES.values() if issubclass(value, resilient.Event) and value is not resilient.Event}
    assert kinds == {type(event) for event in events()}


def test_a_refusal_is_a_frozen_value() -> None:
    found = resilient.find_refusal(ConnectionRefusedError())
    assert found is not None
    with pytest.raises(AttributeError):
        found.kind = "not_ready"  # type: ignore[misc]


def test_the_version_is_one() -> None:
    """PEP 440, and the one of the installed distribution where it is installed."""
    assert re.fullmatch(r"\d+\.\d+\.\d+((a|b|rc)\d+)?(\.post\d+)?(\.dev\d+)?", resilient.__version__)
    try:
        installed = importlib.metadata.version("resilient-connect")
    except importlib.metadata.PackageNotFoundError:
        return
    assert installed == resilient.__version__
