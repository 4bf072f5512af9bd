"""Celery: a real worker process, whose broker and results backend come late, die and come back."""

from __future__ import annotations

import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import web
from celery import Celery
from conftest import ready_to_start
from kombu.exceptions import OperationalError

from resilient import CircuitBreaker, CircuitOpenError, Policy
from resilient.cli._servers import PostgresServer, ValkeyServer
from resilient.integrations.celery import _backend_of, protect
from resilient.testing import refused_port

APPLICATION = """
    import os

    from celery import Celery

    from resilient import Policy
    from resilient.integrations.celery import protect

    app = Celery("application", broker=os.environ["BROKER"], backend=os.environ["BACKEND"])
    app.conf.broker_transport_options = {"visibility_timeout": 5}
    protect(app, publish=Policy.startup(), timeout=float(os.environ["TIMEOUT"]))

    @app.task
    def double(number):
        return 2 * number
"""
WORKER = [
    "-m",
    "celery",
    "-A",
    "application",
    "worker",
    "--loglevel=INFO",
    "--pool=solo",
    "--without-gossip",
    "--without-mingle",
]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("application")
    (folder / "application.py").write_text(textwrap.dedent(APPLICATION), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[ValkeyServer, ValkeyServer]]:
    """A broker and a results backend."""
    with (
        ready_to_start(lambda: ValkeyServer(arguments=("--requirepass", "hidden"))) as broker,
        ready_to_start(ValkeyServer) as backend,
    ):
        yield broker, backend


def with_password(server: ValkeyServer, password: str = "hidden") -> str:
    return server.url.replace("redis://", f"redis://:{password}@")


def client(broker: str, backend: str) -> Celery:
    app = Celery("application", broker=broker, backend=backend, set_as_current=False)
    protect(app, publish=Policy.startup().replace(deadline=20.0, observers=()))
    return app


def until(what: Callable[[], bool], worker: web.Application, seconds: float = 30.0) -> None:
    ends = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < ends, "\n".join(worker.lines[-40:])
        assert worker.process.poll() is None, "\n".join(worker.lines[-40:])
        threading.Event().wait(0.05)


def done(worker: web.Application, result: int) -> int:
    """Count the tasks that have ended with a result."""
    return sum(" succeeded in " in line and line.endswith(f": {result}") for line in worker.lines)


def test_a_worker_waits_for_its_servers_and_outlives_their_restart(
    project: Path, servers: tuple[ValkeyServer, ValkeyServer]
) -> None:
    """It starts before them; what is published while the broker is away is done once, when that is back."""
    broker, backend = servers
    variables = {"BROKER": with_password(broker), "BACKEND": backend.url, "TIMEOUT": "40"}
    with web.running(WORKER, project, **variables) as worker:
        timers = [threading.Timer(delay, it.start) for delay, it in ((1.5, broker), (3.0, backend))]
        for timer in timers:
            timer.start()
        until(lambda: any("ready." in line for line in worker.lines), worker)
        assert backend.ready_at is not None
        app = client(with_password(broker), backend.url)
        assert app.send_task("application.double", (21,)).get(timeout=20) == 42

        broker.kill()
        back = threading.Timer(1.0, broker.start)
        back.start()
        result = app.send_task("application.double", (50,))  # while the broker is away
        back.join()
        until(lambda: done(worker, 100) > 0, worker)
        assert result.get(timeout=20) == 100
        app.close()
    assert done(worker, 100) == 1
    assert "hidden" not in "\n".join(worker.lines)


def test_a_worker_whose_broker_does_not_come_ends(project: Path) -> None:
    """By 124, as `resilient wait` does, and with the reason."""
    with refused_port() as port:
        variables = {"BROKER": f"redis://:hidden@127.0.0.1:{port}", "BACKEND": "rpc://", "TIMEOUT": "1.5"}
        with web.running(WORKER, project, **variables) as worker:
            assert worker.process.wait(60) == 124
            worker._reader.join(10)
    log = "\n".join(worker.lines)
    assert "celery: the broker did not serve within 1.5 s" in log
    assert "hidden" not in log


def test_a_worker_with_a_wrong_password_ends_at_once(project: Path, servers: tuple[ValkeyServer, ValkeyServer]) -> None:
    broker = servers[0]
    broker.start()
    broker.wait_ready()
    variables = {"BROKER": with_password(broker, "guessed"), "BACKEND": "rpc://", "TIMEOUT": "60"}
    with web.running(WORKER, project, **variables) as worker:
        assert worker.process.wait(30) == 1
        worker._reader.join(10)
    log = "\n".join(worker.lines)
    assert "celery: the broker will not serve by waiting" in log
    assert "guessed" not in log


def test_publishing_ends_with_the_policy() -> None:
    """By kombu's own error, after so many attempts; a bare application would take several seconds."""
    with refused_port() as port:
        app = Celery("test", broker=f"redis://127.0.0.1:{port}", backend="rpc://", set_as_current=False)
        protect(app, publish=Policy(attempts=3, deadline=0.5, observers=()))
        started = time.monotonic()
        with pytest.raises(OperationalError):
            app.send_task("test.nothing")
    assert time.monotonic() - started < 1.5
    app.close()


def test_an_open_circuit_is_kombus_own_error() -> None:
    breaker = CircuitBreaker("mq", observers=())
    breaker.isolate()
    app = Celery("test", broker="redis://127.0.0.1:1", backend="rpc://", set_as_current=False)
    protect(app, publish=Policy(attempts=3, observers=()), breaker=breaker)
    with pytest.raises(OperationalError) as caught:
        app.send_task("test.nothing")
    assert isinstance(caught.value.__cause__, CircuitOpenError)
    app.close()


def test_something_else_is_refused() -> None:
    with pytest.raises(TypeError, match="needs a Celery application"):
        protect(object())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (None, None),
        ("rpc://", None),
        ("cache+memory://", None),
        ("django-db", None),
        ("db+postgresql://u:p@db/app", "postgresql://u:p@db/app"),
        ("mongodb://db/app", "mongodb://db/app"),
    ],
)
def test_which_results_backends_are_waited_for(url: str | None, expected: str | None) -> None:
    app = Celery("test", broker="memory://", set_as_current=False)
    app.conf.result_backend = url
    assert _backend_of(app) == expected
    app.close()


def test_postgresql_as_results_backend_is_waited_for_by_its_driver() -> None:
    """Asked with a query; a wrong password would be said at once."""
    from resilient import wait_for

    with ready_to_start(lambda: PostgresServer(password="hidden")) as server:
        server.start()
        app = Celery("test", broker="memory://", set_as_current=False)
        app.conf.result_backend = f"db+{server.url}"
        wait_for(_backend_of(app), timeout=20)
        app.close()
