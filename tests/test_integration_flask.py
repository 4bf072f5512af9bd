"""Flask-SQLAlchemy by SQLAlchemy's plugin: a real server process, a PostgreSQL that dies and comes back."""

from __future__ import annotations

import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import web
from conftest import ready_to_start

from resilient.cli._servers import PostgresServer

FILES = {
    "application.py": """
        import os

        from flask import Flask, jsonify
        from flask_sqlalchemy import SQLAlchemy
        from sqlalchemy import text
        from sqlalchemy.exc import OperationalError

        from resilient import Backoff, CircuitBreaker, CircuitOpenError, Policy

        app = Flask(__name__)
        app.config["SQLALCHEMY_DATABASE_URI"] = os.environ["DATABASE"]
        options = {"plugins": ["resilient"], "pool_pre_ping": True, "resilient_policy": os.environ["POLICY"]}
        if "CIRCUIT" in os.environ:
            cooldown = Backoff(initial=30.0, maximum=30.0)
            options["resilient_breaker"] = CircuitBreaker(os.environ["CIRCUIT"], trip_after=1, cooldown=cooldown)
        app.config["SQLALCHEMY_ENGINE_OPTIONS"] = options
        database = SQLAlchemy(app)

        @app.get("/ask")
        def ask():
            return str(database.session.execute(text("select 42")).scalar())

        @app.errorhandler(OperationalError)
        def unavailable(error):
            names = []
            while error is not None:
                names.append(type(error).__name__)
                error = error.__cause__
            return " ".join(names), 503
    """,
    "serve.py": """
        from sqlalchemy.dialects import plugins
        from werkzeug.serving import make_server

        plugins.register("resilient", "resilient.clients.sqlalchemy_plugin", "ResilientPlugin")  # as when installed
        from application import app

        server = make_server("127.0.0.1", 0, app, threaded=True)
        print("port", server.server_port)
        server.serve_forever()
    """,
}
PATIENT = "deadline=20s retry=refused,not_ready"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("application")
    for name, text in FILES.items():
        (folder / name).write_text(textwrap.dedent(text), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    with ready_to_start(lambda: PostgresServer(password="hidden")) as found:
        yield found


def url(server: PostgresServer) -> str:
    return server.url.replace("postgresql:", "postgresql+psycopg:")


def test_requests_outlive_a_restart_of_the_database(project: Path, postgres: PostgresServer) -> None:
    """The application starts before its database, answers when that is there, and after the next restart as well."""
    with web.running(["serve.py"], project, DATABASE=url(postgres), POLICY=PATIENT) as application:
        application.wait_ready()
        for _ in range(2):
            postgres.kill()
            timer = threading.Timer(1.0, postgres.start)
            timer.start()
            started = time.monotonic()
            answer = application.get("/ask")
            timer.join()
            assert (answer.status, answer.text) == (200, "42"), application.lines[-20:]
            assert time.monotonic() - started > 0.9
            postgres.wait_ready()
        assert "hidden" not in "\n".join(application.lines)


def test_many_requests_at_once_outlive_a_restart(project: Path, postgres: PostgresServer) -> None:
    """More than the pool has connections."""
    with web.running(["serve.py"], project, DATABASE=url(postgres), POLICY=PATIENT) as application:
        application.wait_ready()
        postgres.kill()
        answers: list[int] = []
        threads = [threading.Thread(target=lambda: answers.append(application.get("/ask").status)) for _ in range(20)]
        for thread in threads:
            thread.start()
        postgres.start()
        postgres.wait_ready()
        for thread in threads:
            thread.join()
    assert answers == [200] * 20, application.lines[-20:]


def test_an_open_circuit_is_sqlalchemys_own_error(project: Path, postgres: PostgresServer) -> None:
    postgres.kill()
    variables = {"DATABASE": url(postgres), "POLICY": "attempts=2 backoff=10ms..10ms deadline=1s", "CIRCUIT": "db"}
    with web.running(["serve.py"], project, **variables) as application:
        application.wait_ready()
        application.get("/ask")
        answer = application.get("/ask")
    assert answer.status == 503, application.lines[-20:]
    names = answer.text.split()
    assert (names[0], names[-1]) == ("OperationalError", "CircuitOpenError")
    assert answer.elapsed < 0.9
