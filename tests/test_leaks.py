"""A failed call leaves no frame, socket, error or thread behind, and needs no garbage collector for that."""

from __future__ import annotations

import contextlib
import gc
import pickle
import socket
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import tenacity
from drivers import QUIET, Driver, on_every_driver, refusal

from resilient import Cancellation, CircuitBreaker, CircuitOpenError, Policy, attempts, retry_on_refused
from resilient._recovery import Recovery
from resilient.testing import FakeClock, no_retries


class Refused(ConnectionRefusedError):
    """A refusal that can be watched: builtin errors take no weak references."""


class Witness:
    """Lives as long as the frame it was made in."""


@pytest.fixture
def _no_gc() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


def on_waking(state: tenacity.RetryCallState) -> bool:
    """Stop, but only in the middle of a pause: tenacity shows the delay to come, and on waking there is none."""
    return not state.upcoming_sleep


def failing_strategy(state: tenacity.RetryCallState) -> float:
    raise LookupError("a bug")


ENDINGS: dict[str, dict[str, Any]] = {
    "by attempts": {"policy": QUIET.replace(attempts=3)},
    "not retried": {"policy": QUIET.replace(retry=tenacity.retry_if_exception_type(KeyError))},
    "in a pause": {"policy": QUIET.replace(backoff=tenacity.wait_fixed(1e-6), stop=on_waking)},
    "in a pause with a cancellation": {
        "policy": QUIET.replace(backoff=tenacity.wait_fixed(1e-6), stop=on_waking),
        "cancel": Cancellation(),
    },
    "strategy failed": {"policy": QUIET.replace(backoff=failing_strategy)},
}


@pytest.mark.usefixtures("_no_gc")
@on_every_driver
@pytest.mark.parametrize("ending", ENDINGS)
def test_a_hundred_failed_calls_leave_no_frame_and_no_error(driver: Driver, ending: str) -> None:
    """However they ended, and with what lies behind the error."""
    alive: weakref.WeakSet[Any] = weakref.WeakSet()

    connect = without_a_cycle_of_its_own(alive)
    driver.fail_often(100, connect, **ENDINGS[ending])
    assert len(alive) == 0


def without_a_cycle_of_its_own(alive: weakref.WeakSet[Any]) -> Callable[[], None]:
    """Return a client whose frames hold a witness, and whose errors hold the frames, and not the other way round."""

    def address() -> None:
        witness = Witness()
        alive.add(witness)
        raise watched("the first address")

    def watched(text: str) -> Refused:
        error = Refused(111, text)
        alive.add(error)
        return error

    def connect() -> None:
        witness = Witness()
        alive.add(witness)
        try:
            address()
        except Refused:
            raise watched("all addresses") from None

    return connect


@pytest.mark.usefixtures("_no_gc")
@pytest.mark.parametrize("ending", ENDINGS)
def test_a_thousand_failed_calls_need_no_more_memory_than_one(ending: str) -> None:
    """Counted in all objects that the collector knows of: engines and states as well."""
    driver, call = Driver("sync", "function"), without_a_cycle_of_its_own(weakref.WeakSet())
    driver.fail_often(1, call, **ENDINGS[ending])
    before = len(gc.get_objects())
    driver.fail_often(1000, call, **ENDINGS[ending])
    grown = len(gc.get_objects()) - before
    assert grown < 500


@pytest.mark.usefixtures("_no_gc")
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
@on_every_driver
def test_sockets_that_a_client_forgot_are_closed_with_their_frames(driver: Driver, refused_port: int) -> None:
    """The kernel's own: descriptors are what a program runs out of."""
    alive: weakref.WeakSet[socket.socket] = weakref.WeakSet()

    def connect() -> None:
        connection = socket.socket()
        alive.add(connection)
        connection.connect(("127.0.0.1", refused_port))

    driver.fail_often(100, connect, policy=QUIET.replace(attempts=2))
    assert len(alive) == 0


@pytest.mark.usefixtures("_no_gc")
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
@pytest.mark.parametrize("driver", [Driver("sync", "function"), Driver("sync", "block")], ids=str)
def test_a_call_that_waits_holds_no_socket_of_the_attempt_before(driver: Driver, refused_port: int) -> None:
    """A pause may take a minute, and a server counts its clients."""
    alive: weakref.WeakSet[socket.socket] = weakref.WeakSet()
    held_on_waking: list[int] = []

    def connect() -> None:
        connection = socket.socket()
        alive.add(connection)
        connection.connect(("127.0.0.1", refused_port))

    def stop(state: tenacity.RetryCallState) -> bool:
        if not state.upcoming_sleep:
            held_on_waking.append(len(alive))
        return False

    driver.fail(connect, policy=QUIET.replace(attempts=4, backoff=tenacity.wait_fixed(1e-6), stop=stop))
    assert held_on_waking == [0, 0, 0]


@pytest.mark.usefixtures("_no_gc")
@on_every_driver
def test_a_hundred_recovered_calls_leave_nothing(driver: Driver) -> None:
    """Of the attempts that failed before."""
    alive: weakref.WeakSet[Any] = weakref.WeakSet()
    refuse = without_a_cycle_of_its_own(alive)
    calls = 0

    def connect() -> None:
        nonlocal calls
        calls += 1
        if calls % 2:
            refuse()
        raise KeyError("recovered, and told by an error that is not retried")

    driver.fail_often(100, connect, policy=QUIET)
    assert calls == 200
    assert len(alive) == 0


@pytest.mark.usefixtures("_no_gc")
def test_arguments_do_not_outlive_their_call() -> None:
    """They are kept for the strategies while the call fails, and no longer."""
    alive: weakref.WeakSet[Witness] = weakref.WeakSet()

    @retry_on_refused(policy=QUIET.replace(attempts=3))
    def connect(argument: Witness) -> None:
        raise refusal()

    for _ in range(100):
        argument = Witness()
        alive.add(argument)
        with contextlib.suppress(ConnectionRefusedError):
            connect(argument)
    del argument
    assert len(alive) == 0


@pytest.mark.usefixtures("_no_gc")
def test_a_protected_function_goes_with_its_last_reference() -> None:
    """Plans, policies and engines hold each other in no circle."""
    alive: weakref.WeakSet[Any] = weakref.WeakSet()
    for _ in range(100):

        def connect() -> None:
            raise refusal()

        protected = retry_on_refused(connect, policy=QUIET.replace(attempts=2))
        alive.update((connect, protected))
        with contextlib.suppress(ConnectionRefusedError):
            protected()
        del connect, protected
    assert len(alive) == 0


@pytest.mark.usefixtures("_no_gc")
def test_a_loop_that_is_left_unfinished_leaves_nothing() -> None:
    """Between two attempts, with an error still held."""
    alive: weakref.WeakSet[Any] = weakref.WeakSet()
    refuse = without_a_cycle_of_its_own(alive)
    for _ in range(100):
        for attempt in attempts(policy=QUIET):
            if attempt.number == 2:
                break
            with attempt:
                refuse()
    del attempt
    assert len(alive) == 0


@pytest.mark.usefixtures("_no_gc")
def test_an_attempt_that_succeeded_holds_nothing_of_those_before() -> None:
    """The name outlives its loop."""
    alive: weakref.WeakSet[Any] = weakref.WeakSet()
    refuse = without_a_cycle_of_its_own(alive)
    for attempt in attempts(policy=QUIET):
        with attempt:
            if attempt.number < 3:
                refuse()
    assert attempt.number == 3
    assert len(alive) == 0


class Stop(BaseException):
    """An interrupt that loops do not take for their own."""


@pytest.mark.usefixtures("_no_gc")
@on_every_driver
def test_interrupted_calls_leave_nothing(driver: Driver) -> None:
    """Of the attempts that failed before."""
    alive: weakref.WeakSet[Any] = weakref.WeakSet()
    refuse = without_a_cycle_of_its_own(alive)
    calls = 0

    def connect() -> None:
        nonlocal calls
        calls += 1
        if calls % 2:
            refuse()
        raise Stop

    for _ in range(10):
        assert type(driver.fail(connect, policy=QUIET)) is Stop
    assert calls == 20
    assert len(alive) == 0


@pytest.mark.usefixtures("_no_gc")
def test_no_retries_leaves_nothing_either() -> None:
    """Nothing was held in the first place."""
    alive: weakref.WeakSet[Any] = weakref.WeakSet()
    with no_retries():
        Driver("sync", "function").fail_often(100, without_a_cycle_of_its_own(alive), policy=Policy())
    assert len(alive) == 0


@pytest.mark.usefixtures("_no_gc")
@on_every_driver
@pytest.mark.parametrize("waits", [False, True])
def test_calls_that_a_circuit_turned_away_leave_no_error(driver: Driver, waits: bool, fake_clock: FakeClock) -> None:
    """At once, or at their deadline; what it says is a new error each time, with its frames."""
    circuit = CircuitBreaker("db", probe_timeout=1000, observers=())
    circuit.isolate()
    if waits:  # for a probe that hangs
        circuit.release()
        circuit.admit()

    def made() -> int:
        return sum(type(found) in (CircuitOpenError, Recovery) for found in gc.get_objects())

    before = made()
    driver.fail_often(50, list, policy=QUIET.replace(deadline=1), breaker=circuit)
    assert made() <= before
    assert fake_clock.now() == 50 * waits


@on_every_driver
def test_no_thread_is_started(driver: Driver) -> None:
    """Not one: neither to sleep nor to tell."""
    before = threading.active_count()
    seen: list[int] = []

    def connect() -> None:
        seen.append(threading.active_count())
        raise refusal()

    driver.fail(connect, policy=QUIET.replace(attempts=3, observers=(lambda event: None,)), cancel=Cancellation())
    assert max(seen) <= before


@on_every_driver
def test_an_error_that_was_given_up_on_still_pickles(driver: Driver) -> None:
    """A worker sends it to its parent."""
    error = driver.fail(without_a_cycle_of_its_own(weakref.WeakSet()), policy=QUIET.replace(attempts=2))
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is Refused
    assert copy.args == error.args


def test_a_cancellation_does_not_keep_its_calls_alive() -> None:
    """One is often as old as the program."""
    cancel = Cancellation()
    before = sys.getsizeof(cancel._wakers)
    Driver("sync", "function").fail_often(
        100, without_a_cycle_of_its_own(weakref.WeakSet()), policy=QUIET.replace(attempts=3), cancel=cancel
    )
    assert cancel._wakers == {}
    assert sys.getsizeof(cancel._wakers) <= before + 1024
