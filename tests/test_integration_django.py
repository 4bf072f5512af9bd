"""Django: a real project in a folder of its own, real requests, and servers that are killed and come back."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import django
import fake_servers
import guarding
import programs
import pytest
import web
from conftest import ready_to_start
from pages import BY_NAME

from resilient.cli._servers import PostgresServer, ValkeyServer
from resilient.testing import late_server, refused_port

of_pools = pytest.mark.skipif(django.VERSION < (5, 1), reason="requires Django 5.1, which has pools")
ENGINE = "resilient.integrations.django.postgresql"
MYSQL = "resilient.integrations.django.mysql"
POOL = "resilient.integrations.django.cache.FailOpenConnectionPool"

FILES = {
    "settings.py": """
        import json, os

        DATABASES = json.loads(os.environ["DATABASES"])
        CACHES = json.loads(os.environ.get("CACHES", "{}")) or {
            "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}
        }
        INSTALLED_APPS = ["resilient.integrations.django"]
        ROOT_URLCONF = "urls"
        SECRET_KEY = "not a secret"
        ALLOWED_HOSTS = ["*"]
        USE_TZ = True
        WSGI_APPLICATION = None
    """,
    "urls.py": """
        from django.core.cache import cache
        from django.db import OperationalError, connection
        from django.http import HttpResponse
        from django.urls import path

        def ask(request):
            with connection.cursor() as cursor:
                cursor.execute("select 42")
                return HttpResponse(str(cursor.fetchone()[0]))

        def caught(request):
            try:
                return ask(request)
            except OperationalError as error:
                names = []
                while error is not None:
                    names.append(type(error).__name__)
                    error = error.__cause__
                return HttpResponse(" ".join(names), status=503)

        def count(request):
            cache.set("greeting", "hello", 60)
            return HttpResponse(str(cache.get("greeting")))

        def insert(request, number):
            with connection.cursor() as cursor:
                cursor.execute("insert into done values (%s)", [number])
            return HttpResponse("done")

        urlpatterns = [path("ask", ask), path("caught", caught), path("count", count)]
        urlpatterns.append(path("insert/<int:number>", insert))
    """,
    "manage.py": """
        import os, sys
        from django.core.management import execute_from_command_line

        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")
        execute_from_command_line(sys.argv)
    """,
    "serve.py": """
        import os, socketserver, wsgiref.simple_server as simple

        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")
        from django.core.wsgi import get_wsgi_application

        class Server(socketserver.ThreadingMixIn, simple.WSGIServer):
            daemon_threads = True

        server = simple.make_server("127.0.0.1", 0, get_wsgi_application(), server_class=Server)
        print("port", server.server_port)
        server.serve_forever()
    """,
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    for name, text in FILES.items():
        (folder / name).write_text(textwrap.dedent(text), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    with ready_to_start(lambda: PostgresServer(password="hidden")) as found:
        yield found


@pytest.fixture(scope="module")
def valkey() -> Iterator[ValkeyServer]:
    with ready_to_start(ValkeyServer) as found:
        yield found


def database(port: int, **changes: Any) -> dict[str, Any]:
    known = {"ENGINE": ENGINE, "NAME": "postgres", "USER": "postgres", "PASSWORD": "hidden", "HOST": "127.0.0.1"}
    return {**known, "PORT": str(port), "RESILIENT": {"policy": "deadline=20s retry=refused,not_ready"}, **changes}


def manage(
    project: Path, *arguments: str, databases: dict[str, Any], caches: dict[str, Any] | None = None
) -> subprocess.CompletedProcess[str]:
    variables = {"DATABASES": json.dumps(databases), "CACHES": json.dumps(caches or {})}
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=project,
        env=web.environment(variables),
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


@contextlib.contextmanager
def started_later(server: Any, seconds: float = 2.0) -> Iterator[None]:
    """Kill a server, and start it while something waits for it."""
    server.kill()
    timer = threading.Timer(seconds, server.start)
    timer.start()
    try:
        yield
    finally:
        timer.join()
        server.wait_ready(30)


def up(server: Any) -> None:
    server.start()
    server.wait_ready(30)


# manage.py wait_for_db


@pytest.mark.parametrize("engine", [ENGINE, "django.db.backends.postgresql"])
@pytest.mark.parametrize("options", [{}, pytest.param({"pool": True}, marks=of_pools)], ids=["plain", "pool"])
def test_the_command_waits_until_postgresql_serves(
    engine: str, options: dict[str, Any], project: Path, postgres: PostgresServer
) -> None:
    """Whatever the engine, with and without a pool; soon after it serves."""
    databases = {"default": database(postgres.port, ENGINE=engine, OPTIONS=options)}
    with started_later(postgres):
        answer = manage(project, "wait_for_db", "--timeout", "30", databases=databases)
        ended = time.monotonic()
    assert answer.returncode == 0, answer.stderr
    assert "Database 'default' serves (" in answer.stdout
    assert postgres.ready_at is not None
    assert ended - postgres.ready_at < 2.0  # with the end of the process


def test_the_command_does_not_take_starting_up_for_serving(project: Path) -> None:
    starting = fake_servers.postgres("57P03", "the database system is starting up")
    with fake_servers.serve(starting) as port:
        answer = manage(project, "wait_for_db", "--timeout", "1.5", databases={"default": database(port)})
    assert answer.returncode == 124, answer.stderr
    assert "did not serve within 1." in answer.stderr
    assert "starting up" in answer.stderr


def test_a_wrong_password_ends_the_command_at_once(project: Path, postgres: PostgresServer) -> None:
    """With the server's own words, and without a password."""
    up(postgres)
    started = time.monotonic()
    wrong = {"default": database(postgres.port, PASSWORD="guessed")}
    answer = manage(project, "wait_for_db", "--timeout", "30", databases=wrong)
    assert time.monotonic() - started < 15
    assert answer.returncode == 1
    assert "CommandError: database 'default' will not serve by waiting" in answer.stderr
    assert "password authentication failed" in answer.stderr
    assert "guessed" not in answer.stderr + answer.stdout
    assert "Traceback" not in answer.stderr


def test_the_command_waits_for_several_databases(project: Path, postgres: PostgresServer) -> None:
    """All of them, or those that are named; the timeout is for all together, and who is missing is said."""
    up(postgres)
    with refused_port() as port:
        databases = {"default": database(postgres.port), "reports": database(port)}
        answer = manage(project, "wait_for_db", "--timeout", "1.5", databases=databases)
        assert answer.returncode == 124
        assert "Database 'default' serves" in answer.stdout
        assert "CommandError: database 'reports' did not serve within" in answer.stderr
        named = manage(project, "wait_for_db", "--database", "default", "--timeout", "5", databases=databases)
        assert (named.returncode, named.stderr) == (0, "")
    unknown = manage(project, "wait_for_db", "--database", "nowhere", databases=databases)
    assert unknown.returncode == 2
    assert "there are: default, reports" in unknown.stderr
    for number in ("nan", "-1", "soon"):
        assert manage(project, "wait_for_db", "--timeout", number, databases=databases).returncode == 2


def test_a_missing_driver_ends_the_command_at_once(project: Path) -> None:
    databases = {"default": database(1, ENGINE="django.db.backends.oracle")}
    answer = manage(project, "wait_for_db", "--timeout", "30", databases=databases)
    assert answer.returncode == 1
    assert "will not serve by waiting: " in answer.stderr


def test_a_database_that_does_not_exist_ends_the_command_at_once(project: Path, postgres: PostgresServer) -> None:
    up(postgres)
    answer = manage(project, "wait_for_db", databases={"default": database(postgres.port, NAME="nowhere")})
    assert answer.returncode == 1
    assert 'database "nowhere" does not exist' in answer.stderr


def test_the_command_waits_for_mariadb(project: Path, mariadb: Any) -> None:
    pytest.importorskip("MySQLdb", reason="mysqlclient is not installed, and it has no wheels")
    databases = {
        "default": database(mariadb.port, ENGINE=MYSQL, NAME="mysql", USER="root", PASSWORD=""),
    }
    with started_later(mariadb):
        answer = manage(project, "wait_for_db", "--timeout", "30", databases=databases)
    assert answer.returncode == 0, answer.stderr


# Requests


@pytest.mark.parametrize(
    "options", [{}, pytest.param({"pool": {"min_size": 1, "timeout": 20}}, marks=of_pools)], ids=["plain", "pool"]
)
def test_requests_outlive_a_restart_of_postgresql(
    options: dict[str, Any], project: Path, postgres: PostgresServer
) -> None:
    """The application starts before its database, answers when that is there, and after the next restart as well.

    With a pool, Django's own health checks find the connections that have died in it.
    """
    databases = json.dumps({"default": database(postgres.port, OPTIONS=options, CONN_HEALTH_CHECKS=bool(options))})
    with web.running(["serve.py"], project, DATABASES=databases) as application:
        application.wait_ready()
        for _ in range(2):
            with started_later(postgres, 1.0):
                answer = application.get("/ask")
            assert (answer.status, answer.text) == (200, "42"), application.lines[-20:]
            assert answer.elapsed > 0.9


def test_persistent_connections_outlive_a_restart_with_health_checks(project: Path, postgres: PostgresServer) -> None:
    kept = database(postgres.port, CONN_MAX_AGE=None, CONN_HEALTH_CHECKS=True)
    up(postgres)
    with web.running(["serve.py"], project, DATABASES=json.dumps({"default": kept})) as application:
        application.wait_ready()
        assert application.get("/ask").text == "42"
        with started_later(postgres, 1.0):
            answer = application.get("/ask")
    assert (answer.status, answer.text) == (200, "42"), application.lines[-20:]


def test_requests_outlive_a_restart_of_mariadb(project: Path, mariadb: Any) -> None:
    pytest.importorskip("MySQLdb", reason="mysqlclient is not installed, and it has no wheels")
    databases = json.dumps(
        {"default": database(mariadb.port, ENGINE=MYSQL, NAME="mysql", USER="root", PASSWORD="")},
    )
    with web.running(["serve.py"], project, DATABASES=databases) as application:
        application.wait_ready()
        with started_later(mariadb, 1.0):
            answer = application.get("/ask")
    assert (answer.status, answer.text) == (200, "42"), application.lines[-20:]


def test_under_load_every_answer_was_done_once(project: Path, postgres: PostgresServer) -> None:
    """Eight callers insert, the server dies and comes back: no error but for what was under way, and nothing twice."""
    import psycopg

    up(postgres)
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute("create table done (number integer)")
    resilient = {"policy": "deadline=20s retry=refused,not_ready", "breaker": {"name": "load", "trip_after": 3}}
    databases = json.dumps({"default": database(postgres.port, RESILIENT=resilient)})
    statuses: dict[int, int] = {}
    numbers, ends = iter(range(1_000_000)), threading.Event()
    with web.running(["serve.py"], project, DATABASES=databases) as application:
        application.wait_ready()

        def insert() -> None:
            while not ends.is_set():
                number = next(numbers)
                statuses[number] = application.get(f"/insert/{number}").status

        threads = [threading.Thread(target=insert) for _ in range(8)]
        for thread in threads:
            thread.start()
        for pause in (0.7, 0.7):
            ends.wait(pause)
            postgres.kill()
            ends.wait(pause)
            up(postgres)
        ends.wait(1.0)
        ends.set()
        for thread in threads:
            thread.join()
    with psycopg.connect(postgres.url) as connection:
        rows = [row[0] for row in connection.execute("select number from done").fetchall()]
    assert len(rows) == len(set(rows))
    answered = {number for number, status in statuses.items() if status == 200}
    assert answered <= set(rows)
    assert len(answered) > 50
    assert len(statuses) - len(answered) <= 2 * 8  # what was under way at the two ends of the server


@pytest.mark.parametrize(
    "options", [{}, pytest.param({"pool": {"min_size": 0, "max_size": 4}}, marks=of_pools)], ids=["plain", "pool"]
)
def test_an_open_circuit_is_djangos_own_error(options: dict[str, Any], project: Path) -> None:
    """The user's `except OperationalError` catches it; the circuit is one for all threads of the process."""
    resilient = {
        "policy": "attempts=2 backoff=10ms..10ms deadline=0.5s",
        "breaker": {"name": "orders", "trip_after": 2, "cooldown": "30s..30s"},
    }
    with refused_port() as port:
        databases = json.dumps({"default": database(port, RESILIENT=resilient, OPTIONS=options)})
        with web.running(["serve.py"], project, DATABASES=databases) as application:
            application.wait_ready()
            application.get("/caught")
            answer = application.get("/caught")
    assert answer.status == 503, application.lines[-20:]
    names = answer.text.split()
    assert (names[0], names[-1]) == ("OperationalError", "CircuitOpenError"), names
    assert answer.elapsed < 2.0


_ATTEMPTS = """
import fcntl, socket, struct, sys
import django, guarding
from django.conf import settings
from resilient.testing import refused_port

with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
    fcntl.ioctl(any_socket, 0x8914, struct.pack("16sH14x", b"lo", 1))  # SIOCSIFFLAGS, IFF_UP
with refused_port() as port:
    known = {"NAME": "x", "HOST": "127.0.0.1", "PORT": port, "RESILIENT": {"policy": "attempts=3 backoff=10ms..10ms"}}
    settings.configure(DATABASES={"default": {}, **{name: {"ENGINE": name, **known} for name in sys.argv[1:]}})
    django.setup()
    from django.db import OperationalError, connections
    for engine in sys.argv[1:]:
        before = guarding.refused_connects()
        try:
            connections[engine].ensure_connection()
        except OperationalError as error:
            print(guarding.refused_connects() - before, *getattr(error.__cause__, "__notes__", ["no note"]))
"""


def test_attempts_on_the_wire_are_those_of_the_policy() -> None:
    """Of mysqlclient's errors none says what happened, so that its port is asked, once for all three."""
    has_mysqlclient = importlib.util.find_spec("MySQLdb") is not None
    answer = programs.run(_ATTEMPTS, ENGINE, *([MYSQL] if has_mysqlclient else []), behind=guarding._own_network())
    assert answer.returncode == 0, answer.stderr
    told = dict(zip(("postgresql", "mysql"), answer.stdout.splitlines(), strict=False))
    assert len(told) == 1 + has_mysqlclient, answer.stdout
    for scheme, line in told.items():
        assert line.startswith("3 " if scheme == "postgresql" else "4 "), answer.stdout
        if sys.version_info >= (3, 11):
            assert "resilient: gave up after 3 attempts" in line
            assert f"on {scheme}://127.0.0.1:" in line


# manage.py check


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"RESILIENT": {"policy": "attempts=none at all"}}, "resilient.E001"),
        ({"RESILIENT": {"polcy": "attempts=3"}}, "its keys are breaker, env, policy, target"),
        ({"RESILIENT": []}, "must be a dictionary, not list"),
        ({"RESILIENT": {"breaker": {"trip_after": 3}}}, "breaker needs a name"),
        ({"RESILIENT": {"breaker": {"name": "x", "trip": 3}}}, "resilient.E001"),
        ({"RESILIENT": {"breaker": {"name": "x", "trip_after": 0}}}, "CircuitBreaker.trip_after must be at least 1"),
        ({"RESILIENT": {"target": "nonsense://"}}, "resilient.E001"),
        ({"ENGINE": "django.db.backends.postgresql"}, "resilient.W001"),
    ],
    ids=str,
)
def test_the_system_check_finds_settings_that_are_wrong(changes: dict[str, Any], said: str, project: Path) -> None:
    answer = manage(project, "check", "--fail-level", "WARNING", databases={"default": database(1, **changes)})
    assert answer.returncode == 1
    assert said in answer.stderr
    assert "Traceback" not in answer.stderr


def test_the_system_check_finds_two_circuits_of_one_name(project: Path) -> None:
    one, two = ({"breaker": {"name": "x", "trip_after": count}} for count in (3, 4))
    databases = {"default": database(1, RESILIENT=one), "other": database(1, RESILIENT=two)}
    assert "one name is one circuit" in manage(project, "check", databases=databases).stderr


def test_the_system_check_is_content_with_settings_that_are_right(project: Path) -> None:
    """Texts, names, and a dictionary with a cooldown; nothing is dialled."""
    resilient = {"policy": "attempts=3", "env": "DB", "target": "db:5432"}
    breaker = {"name": "db", "trip_after": 3, "cooldown": "50ms..250ms", "probe_timeout": 10}
    databases = {"default": database(1, RESILIENT={**resilient, "breaker": breaker}), "other": database(1)}
    answer = manage(project, "check", "--fail-level", "WARNING", databases=databases)
    assert answer.returncode == 0, answer.stderr
    cache = {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": "redis://127.0.0.1:1"}
    wrong = {"default": {**cache, "OPTIONS": {"pool_class": POOL, "resilient": {"policy": "attempts=x"}}}}
    assert "resilient.E002" in manage(project, "check", databases=databases, caches=wrong).stderr
    elsewhere = {"default": {**cache, "OPTIONS": {"pool_class": "redis.ConnectionPool", "resilient": {}}}}
    assert "resilient.W002" in manage(project, "check", databases=databases, caches=elsewhere).stderr


# The cache


def caches(port: int, kind: str, **settings: Any) -> dict[str, Any]:
    if kind == "django":
        return {
            "default": {
                "BACKEND": "django.core.cache.backends.redis.RedisCache",
                "LOCATION": f"redis://127.0.0.1:{port}",
                "OPTIONS": {"pool_class": POOL, "resilient": settings},
            }
        }
    return {
        "default": {
            "BACKEND": "django_redis.cache.RedisCache",
            "LOCATION": f"redis://127.0.0.1:{port}/0",
            "OPTIONS": {"CONNECTION_POOL_CLASS": POOL, "CONNECTION_POOL_KWARGS": {"resilient": settings}},
        }
    }


@pytest.mark.parametrize("kind", ["django", "django-redis"])
def test_a_page_is_served_without_its_cache(kind: str, project: Path, valkey: ValkeyServer) -> None:
    """A hit, a miss while the server is down, and a hit again soon after it is back: never an error."""
    up(valkey)
    variables = {
        "DATABASES": json.dumps({"default": database(1)}),
        "CACHES": json.dumps(caches(valkey.port, kind)),
    }
    with web.running(["serve.py"], project, **variables) as application:
        application.wait_ready()
        assert application.get("/count").text == "hello"
        valkey.kill()
        for _ in range(5):
            answer = application.get("/count")
            assert (answer.status, answer.text) == (200, "None"), application.lines[-20:]
            assert answer.elapsed < 1.0
        up(valkey)
        ends = time.monotonic() + 5
        while (text := application.get("/count").text) != "hello" and time.monotonic() < ends:
            threading.Event().wait(0.05)
    assert text == "hello"


_MISSES = """
import json, sys
from django.conf import settings

settings.configure(CACHES=json.loads(sys.argv[1]))
from django.core.cache import cache

def attempt(function, *arguments, **named):
    try:
        return function(*arguments, **named)
    except Exception as error:
        return type(error).__name__

print(json.dumps({
    "set": attempt(cache.set, "a", {"b": 1}),
    "set for ever": attempt(cache.set, "a", 1, timeout=None),
    "set for no time": attempt(cache.set, "a", 1, timeout=0),
    "get": attempt(cache.get, "a", "nothing"),
    "add": attempt(cache.add, "a", 1),
    "get_or_set": attempt(cache.get_or_set, "a", lambda: 7),
    "get_many": attempt(cache.get_many, ["a", "b"]),
    "set_many": attempt(cache.set_many, {"a": 1, "b": 2}, timeout=5),
    "touch": attempt(cache.touch, "a", 5),
    "has_key": attempt(cache.has_key, "a"),
    "incr": attempt(cache.incr, "a"),
    "delete": attempt(cache.delete, "a"),
    "delete_many": attempt(cache.delete_many, ["a", "b"]),
    "clear": attempt(cache.clear),
}))
"""


@pytest.mark.parametrize("kind", ["django", "django-redis"])
def test_every_question_to_a_cache_that_is_down_is_a_miss(kind: str) -> None:
    """No value is found, nothing is stored, and nobody is told that he added something."""
    with refused_port() as port:
        answer = programs.run(_MISSES, json.dumps(caches(port, kind)))
    assert answer.returncode == 0, answer.stderr
    found = json.loads(answer.stdout)
    assert found["get"] == "nothing"
    assert found["add"] is False
    assert found["get_or_set"] in (7, None)
    assert found["get_many"] == {}
    assert found["has_key"] is False
    assert found["touch"] is False
    assert not found["delete"]
    assert found["set_many"] in (None, [])
    errors = {name: value for name, value in found.items() if isinstance(value, str) and value.endswith("Error")}
    assert errors == {"incr": "ValueError"} if kind == "django" else errors.keys() <= {"incr"}


_POOL = """
import json, sys
import redis
from resilient import CircuitOpenError
from resilient.integrations.django.cache import FailOpenConnectionPool

port, settings = int(sys.argv[1]), json.loads(sys.argv[2])
url = f"redis://127.0.0.1:{port}"
client = redis.Redis(connection_pool=FailOpenConnectionPool.from_url(url, resilient=settings))
answers = []
for _ in range(3):
    try:
        answers.append(client.get("a"))
    except redis.ConnectionError as error:
        answers.append(isinstance(error.__cause__, CircuitOpenError))
try:
    client.lpush("queue", 1)
except redis.ConnectionError as error:
    answers.append(isinstance(error.__cause__, CircuitOpenError))
answers.append(client.set("lock", 1, nx=True, px=100))
answers.append(client.set("value", 1))
print(json.dumps(answers))
"""


def test_the_circuit_of_a_cache_opens_when_its_settings_say() -> None:
    """Until then the client's own error comes out; what no cache sends is not answered, and no lock is given away."""
    with refused_port() as port:
        at_once = programs.run(_POOL, str(port), "{}")
        third = programs.run(_POOL, str(port), json.dumps({"breaker": {"name": "c", "trip_after": 3}}))
    assert json.loads(at_once.stdout) == [None, None, None, True, None, True], at_once.stderr
    assert json.loads(third.stdout) == [False, False, None, True, None, True], third.stderr


def test_a_name_is_one_circuit_for_all_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    from resilient.integrations.django import _settings

    monkeypatch.setattr(_settings, "_breakers", {})
    found: list[Any] = []

    def read() -> None:
        found.append(_settings.read({"breaker": "x"}, "here", default=_settings.FOR_CACHES).breaker)

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(map(id, found))) == 1


def test_the_command_says_what_it_waits_for_while_it_waits(project: Path) -> None:
    with late_server() as server:
        answer = manage(project, "wait_for_db", "--timeout", "1", databases={"default": database(server.port)})
    assert "127.0.0.1" in answer.stderr


def test_the_settings_on_the_page_are_right(project: Path) -> None:
    """Those of the manual."""
    page = BY_NAME["docs/how-to/django.md"]
    blocks = [block.text for block in page.blocks if block.language == "python"]
    (project / "of_the_page.py").write_text("from settings import *\n" + "\n".join(blocks), encoding="utf-8")
    answer = subprocess.run(
        [sys.executable, "manage.py", "check", "--fail-level", "WARNING", "--settings", "of_the_page"],
        cwd=project,
        env=web.environment({"DATABASES": "{}"}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
