"""The testing kit as pytest fixtures.

Imports nothing but pytest at the top: a plugin is loaded into every test run of an environment.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .testing import FakeClock, LateServer, RecordedEvents


@pytest.fixture
def refused_port() -> Iterator[int]:
    """Give a port on 127.0.0.1 that refuses every connection and that nobody else can take."""
    from . import testing

    with testing.refused_port() as port:
        yield port


@pytest.fixture
def late_server() -> Iterator[LateServer]:
    """Give a server on 127.0.0.1 that refuses until `up()` or `up_after(seconds)` is called."""
    from . import testing

    with testing.late_server() as server:
        yield server


@pytest.fixture
def fake_clock() -> Iterator[FakeClock]:
    """Let a clock that jumps stand in for time in everything resilient does."""
    from . import testing

    with testing.fake_clock() as clock:
        yield clock


@pytest.fixture
def recorded_events() -> Iterator[RecordedEvents]:
    """Record every event of every call in the process."""
    from . import testing

    with testing.recorded_events() as events:
        yield events


@pytest.fixture
def no_retries() -> Iterator[None]:
    """Let every call fail at its first error."""
    from . import testing

    with testing.no_retries():
        yield
