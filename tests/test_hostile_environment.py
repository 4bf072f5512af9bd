"""Where Python itself is in trouble, the client's own error still comes out, and none of ours in its place.

Each program runs in a process of its own, is told what to expect by its `assert`s, and ends with "done".
"""

from __future__ import annotations

import json
import os
import struct
import textwrap
from pathlib import Path
from typing import Any

import programs
import psycopg
import psycopg2
import pytest
from clients import CLIENTS, Client
from conftest import requires

from resilient import find_refusal, is_refused

HEAD = """
import asyncio, errno, socket, sys, time
from resilient import *
from resilient.testing import recorded_events

AT_ONCE = Policy(attempts=3, backoff=Backoff(initial=0, maximum=0))

guard = socket.socket()
guard.bind(("127.0.0.1", 0))  # and never listens
DEAD = guard.getsockname()
"host".encode("idna")  # Python loads this codec at its first connect

def connect():
    return socket.create_connection(DEAD, timeout=5)

def error_of(call):
    try:
        result = call()
        if asyncio.iscoroutine(result):
            asyncio.run(result)
    except Exception as error:
        return error
    raise AssertionError("it succeeded")

def noted(error):
    notes = getattr(error, "__notes__", [])
    ours = [note for note in notes if note.startswith("resilient: gave up after 3 attempts")]
    return len(ours) == 1 or sys.version_info < (3, 11)

"""


def run(*parts: str) -> tuple[str, str]:
    """Run a program to its good end; return what it printed and what stands on stderr."""
    answer = programs.run(HEAD + "".join(map(textwrap.dedent, parts)))
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.endswith("done\n"), answer.stdout + answer.stderr
    return answer.stdout, answer.stderr


# No file descriptor is left.

EXHAUSTED = """
import os, resource

def exhaust():
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    try:
        while True:
            os.dup(2)
    except OSError as error:
        assert error.errno == errno.EMFILE

"""


def test_no_descriptor_left_is_an_answer() -> None:
    """One attempt, and the operating system's own error. The library is met at its first failure."""
    run(
        EXHAUSTED,
        """
        exhaust()
        with recorded_events() as events:
            error = error_of(retry_on_refused(policy=Policy.startup())(connect))
        assert type(error) is OSError and error.errno == errno.EMFILE, error
        assert events == [] and not hasattr(error, "__notes__")
        print("done")
        """,
    )


@pytest.mark.parametrize(
    ("world", "target"),
    [
        ("sync", "127.0.0.1:5432"),
        ("sync", "[::1]:5432"),
        ("asyncio", "db:5432"),
        ("asyncio with a Cancellation", "db:5432"),
        ("block", "db:5432"),
    ],
)
def test_a_refusal_is_retried_and_given_back_without_descriptors(world: str, target: str) -> None:
    """All that is needed is loaded already: nothing is imported or opened at a failure."""
    run(
        EXHAUSTED,
        f"""
        raised = []
        existing = socket.socket()

        def reconnect():
            try:
                existing.connect(DEAD)
            except OSError as error:
                raised.append(error)
                raise

        async def reconnect_async():
            reconnect()

        def block():
            for attempt in tries:
                with attempt:
                    reconnect()

        def target():
            return "{target}"

        async def main(cancel):
            exhaust()
            await retry_on_refused(policy=AT_ONCE, target=target, cancel=cancel)(reconnect_async)()

        with recorded_events() as events:
            if "{world}" == "asyncio":
                error = error_of(lambda: main(None))
            elif "{world}" == "asyncio with a Cancellation":
                error = error_of(lambda: main(Cancellation()))
            else:
                tries = attempts(policy=AT_ONCE, target=target)
                protected = retry_on_refused(policy=AT_ONCE, target=target)(reconnect)
                exhaust()
                error = error_of(block if "{world}" == "block" else protected)
        assert error is raised[-1] and len(raised) == 3, (error, raised)
        assert is_refused(error) and noted(error)
        assert [type(event) for event in events] == [RetryScheduled, RetryScheduled, RetriesExhausted]
        assert {{str(event.target) for event in events}} == {{"{target}"}}, events
        print("done")
        """,
    )


def test_a_log_that_cannot_be_opened_changes_nothing(tmp_path: Path) -> None:
    """`FileHandler(delay=True)` opens its file at the first record, and lets that error out."""
    _, errors = run(
        EXHAUSTED,
        f"""
        import logging
        logging.getLogger("resilient").addHandler(logging.FileHandler({str(tmp_path / "log")!r}, delay=True))
        existing = socket.socket()
        exhaust()
        error = error_of(lambda: retry_on_refused(policy=AT_ONCE)(existing.connect)(DEAD))
        assert type(error) is ConnectionRefusedError and noted(error), error
        print("done")
        """,
    )
    assert errors == ""


# The interpreter shuts down.


def test_a_call_at_exit_is_retried_like_any_other() -> None:
    """In an `atexit` handler: threads can no longer be started, and none is needed."""
    printed, _ = run(
        """
        import atexit

        def at_exit():
            with recorded_events() as events:
                error = error_of(retry_on_refused(policy=AT_ONCE)(connect))
            assert type(error) is ConnectionRefusedError and noted(error), error
            assert len(events) == 3
            print("done")

        atexit.register(at_exit)
        print("main is over")
        """,
    )
    assert printed.startswith("main is over\n")


def test_a_thread_that_outlives_main_is_retried_to_its_end() -> None:
    """Python waits for it, and its pauses are slept."""
    run(
        """
        import threading

        policy = Policy(attempts=3, backoff=Backoff(initial=0.05, maximum=0.05), observers=())

        def work():
            error = error_of(retry_on_refused(policy=policy)(connect))
            assert not threading.main_thread().is_alive()
            assert type(error) is ConnectionRefusedError and noted(error), error
            print("done")

        threading.Thread(target=work).start()
        """,
    )


@pytest.mark.parametrize("cancel", ["None", "Cancellation()"])
def test_daemon_threads_in_their_pauses_do_not_disturb_the_end(cancel: str) -> None:
    """Python stops them wherever they are; nothing is printed, nothing hangs, nothing crashes."""
    _, errors = run(
        f"""
        import threading

        policy = Policy(deadline=None, backoff=Backoff(initial=0.001, maximum=0.002), observers=())
        call = retry_on_refused(policy=policy, cancel={cancel})(connect)
        long_policy = Policy(deadline=None, backoff=Backoff(initial=60, maximum=60), observers=())
        long_call = retry_on_refused(policy=long_policy, cancel={cancel})(connect)
        for number in range(6):
            threading.Thread(target=(call, long_call)[number % 2], daemon=True).start()
        time.sleep(0.1)
        print("done")
        """,
    )
    assert errors == ""


def test_a_call_in_a_finalizer_at_the_end_fails_with_its_own_error() -> None:
    """Modules are being taken apart while `__del__` of the last objects runs; Python prints what comes out."""
    _, errors = run(
        """
        class Pool:
            def __init__(self):
                self.call = retry_on_refused(policy=AT_ONCE)(socket.socket().connect)

            def __del__(self):
                self.call(DEAD)

        pool = Pool()
        pool.itself = pool  # found by the very last collection
        sys.modules["kept"] = pool
        print("done")
        """,
    )
    assert "ConnectionRefusedError" in errors
    assert "TypeError" not in errors
    assert "AttributeError" not in errors


# Signals.


def test_a_call_in_a_signal_handler_is_independent_of_the_one_it_interrupts() -> None:
    """A handler that connects, too, comes again and again, wherever the call of the main thread happens to be."""
    run(
        """
        import logging, signal
        logging.getLogger("resilient").addHandler(logging.NullHandler())
        handled = []

        def on_alarm(number, frame):
            handled.append(error_of(retry_on_refused(policy=AT_ONCE)(connect)))
            signal.setitimer(signal.ITIMER_REAL, 0.0003)

        signal.signal(signal.SIGALRM, on_alarm)
        signal.setitimer(signal.ITIMER_REAL, 0.0003)
        until = time.monotonic() + 1
        calls = 0
        while time.monotonic() < until:
            error = error_of(retry_on_refused(policy=AT_ONCE)(connect))
            assert type(error) is ConnectionRefusedError and noted(error), error
            assert error.__context__ is None
            calls += 1
        signal.signal(signal.SIGALRM, signal.SIG_IGN)
        assert calls > 3 and len(handled) > 3, (calls, len(handled))
        assert all(type(error) is ConnectionRefusedError and noted(error) for error in handled)
        print("done")
        """,
    )


@pytest.mark.parametrize("cancel", ["None", "Cancellation()"])
@pytest.mark.parametrize("kind", ["Exception", "BaseException"])
def test_a_signal_handler_that_raises_ends_the_pause(cancel: str, kind: str) -> None:
    """A time limit made of `alarm`: its error is no failure of the call, and comes out at once as it is."""
    run(
        f"""
        import signal

        class Alarm({kind}):
            pass

        def on_alarm(number, frame):
            raise Alarm

        signal.signal(signal.SIGALRM, on_alarm)
        policy = Policy(backoff=Backoff(initial=30, maximum=30, jitter="none"), observers=())
        started = time.monotonic()
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        try:
            retry_on_refused(policy=policy, cancel={cancel})(connect)()
        except Alarm as alarm:
            assert alarm.__context__ is None and alarm.__cause__ is None
        assert time.monotonic() - started < 5
        print("done")
        """,
    )


# Near the recursion limit.


@pytest.mark.parametrize("world", ["sync", "asyncio", "block"])
def test_near_the_recursion_limit_the_clients_error_comes_out(world: str) -> None:
    """However few frames are left when it was raised. The client is as shallow as clients get: three frames."""
    run(
        f"""
        import inspect, logging
        logging.getLogger("resilient").addHandler(logging.NullHandler())
        last = []

        def client():
            last.clear()
            return open_connection()

        def open_connection():
            return open_socket()

        def open_socket():
            error = ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")
            last.append(error)
            raise error

        async def client_async():
            client()

        def block():
            for attempt in attempts(policy=policy):
                with attempt:
                    client()

        def descend(frames, call):
            return descend(frames - 1, call) if frames > 0 else call()

        def try_all():
            wrong = []
            for margin in range(1, 90):
                last.clear()
                try:
                    descend(sys.getrecursionlimit() - len(inspect.stack()) - margin, call)
                except Exception as error:
                    # Where the client itself did not come to its error, whatever stopped it may come out.
                    if last and error is not last[0]:
                        wrong.append((margin, type(error).__name__))
            return wrong

        def step():
            coroutine = retry_on_refused(policy=policy)(client_async)()
            try:
                coroutine.send(None)
            finally:
                coroutine.close()

        async def main():
            return try_all()

        for observers in (), (log_events,):
            policy = AT_ONCE.replace(attempts=1, observers=observers)
            call = {{"sync": retry_on_refused(policy=policy)(client), "asyncio": step, "block": block}}["{world}"]
            wrong = asyncio.run(main()) if "{world}" == "asyncio" else try_all()
            assert wrong == [], wrong
        print("done")
        """,
    )


# Another language.

GERMAN = {"Connection refused": "Verbindungsaufbau abgelehnt"}


def test_words_in_another_language_are_the_systems_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """libpq passes on what `strerror` says in the language of the process; here `strerror` is made to speak German."""
    refused = os.strerror(111 if os.name == "posix" else 10061)
    real = os.strerror
    monkeypatch.setattr("os.strerror", lambda number: GERMAN.get(real(number), real(number)))
    for package in (psycopg, psycopg2):
        for word, verdict in ((refused, True), (GERMAN["Connection refused"], True), ("Connexion refusée", False)):
            error = package.OperationalError(
                f'connection to server at "127.0.0.1", port 5432 failed: {word}\n'
                "\tIs the server running on that host and accepting TCP/IP connections?\n"
            )
            assert is_refused(error) is verdict
            assert (find_refusal(error) is not None) is verdict


LANGUAGES = """
import json, locale, os, sys
from clients import CLIENTS, Place, kind_of
from resilient.testing import refused_port

locale.setlocale(locale.LC_ALL, "")
with refused_port() as port:
    errors = {client.name: client.error(Place(port=port)) for client in CLIENTS}
print(json.dumps([os.strerror(111), {name: [kind_of(error), str(error)] for name, error in errors.items()}]))
"""


@pytest.fixture(scope="module")
def german(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What each client says of a refused port where the system's messages are German."""
    folder = tmp_path_factory.mktemp("locale")
    catalogue = folder / "de/LC_MESSAGES/libc.mo"
    catalogue.parent.mkdir(parents=True)
    catalogue.write_bytes(compiled(GERMAN))
    folder.chmod(0o755)
    behind = programs.mounted(folder, "/usr/share/locale")
    # Without a locale of that language on this machine: "C.UTF-8" translates what LANGUAGE has a catalogue for.
    answer = programs.run(LANGUAGES, behind=behind, variables={"LC_ALL": "C.UTF-8", "LANGUAGE": "de"})
    if "unsupported locale setting" in answer.stderr:
        requires("the locale C.UTF-8")
    assert answer.returncode == 0, answer.stderr
    word, verdicts = json.loads(answer.stdout)
    if word != GERMAN["Connection refused"]:
        requires("a C library that translates C.UTF-8, as glibc does")
    result: dict[str, Any] = verdicts
    return result


def compiled(words: dict[str, str]) -> bytes:
    """Return a message catalogue as `msgfmt` makes it (GNU gettext manual, "The Format of GNU MO Files")."""
    pairs = sorted({"": "Content-Type: text/plain; charset=UTF-8\n", **words}.items())
    texts = [text.encode() for column in zip(*pairs, strict=True) for text in column]
    tables, place = b"", 28 + 8 * len(texts)
    for text in texts:
        tables += struct.pack("<2I", len(text), place)
        place += len(text) + 1
    head = struct.pack("<7I", 0x950412DE, 0, len(pairs), 28, 28 + 8 * len(pairs), 0, 28 + 8 * len(texts))
    return head + tables + b"".join(text + b"\0" for text in texts)


@pytest.mark.parametrize("client", CLIENTS, ids=str)
def test_a_refused_port_is_refused_in_german_as_well(client: Client, german: dict[str, Any]) -> None:
    kind, text = german[client.name]
    assert kind == "refused"
    if client.libpq:
        assert GERMAN["Connection refused"] in text
