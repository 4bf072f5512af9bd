"""What the judge makes of real clients against real sockets and servers that say one thing.

Every error here goes through `kind_of`, which fails where the public predicates give it more than one kind.
"""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import psycopg2
import pytest
import sqlalchemy
from clients import CLIENTS, Client, Place, kind_of
from conftest import requires
from fake_servers import (
    Handler,
    hang_up,
    listen_and_reset,
    mysql,
    postgres,
    redis_server,
    reset,
    says,
    serve,
    silence,
)
from sqlalchemy.pool import NullPool

from resilient import Backoff, Policy, find_refusal, retry_on_refused
from resilient.testing import refused_port as refusing

# PyMySQL leaves the socket of a failed connect to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:.*unclosed <socket:ResourceWarning")

SPEAKING = tuple(client for client in CLIENTS if client.protocol != "tcp")
on_every_client = pytest.mark.parametrize("client", CLIENTS, ids=str)


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """PGHOST, PGSSLMODE and the like of whoever runs this must not decide anything."""
    for name in [name for name in os.environ if name.startswith("PG")]:
        monkeypatch.delenv(name)


@pytest.fixture
def folder(request: pytest.FixtureRequest) -> Iterator[str]:
    """A folder whose path is short enough for a Unix socket."""
    with tempfile.TemporaryDirectory(prefix="r") as name:
        yield name
    if "pymysql" in request.node.name:
        gc.collect()  # here, where the warning is expected


def clients_of(protocol: str) -> tuple[Client, ...]:
    return tuple(client for client in CLIENTS if client.protocol == protocol)


# Refused.

EVIDENCE = {"psycopg": "OperationalError", "psycopg2": "OperationalError"}
"""Where the class that shows it is not the operating system's own."""

NAMES_NO_ADDRESS = ("socket", "pymysql", "sqlalchemy-pymysql")


def check_refused(client: Client, place: Place) -> None:
    error = client.error(place)
    assert kind_of(error) == "refused"
    refusal = find_refusal(error)
    assert refusal is not None
    driver = client.name.removeprefix("sqlalchemy-").removesuffix("-async")
    assert type(refusal.evidence).__name__ == EVIDENCE.get(driver, "ConnectionRefusedError")
    if place.folder is not None or client.name in NAMES_NO_ADDRESS:
        assert refusal.endpoint is None
    else:
        assert refusal.endpoint is not None
        assert (refusal.endpoint.host, refusal.endpoint.port) == (place.host, place.port)


@on_every_client
def test_a_refused_port_is_refused(client: Client, refused_port: int) -> None:
    """On 127.0.0.1; with what it was read from, and where."""
    check_refused(client, Place(port=refused_port))


@pytest.fixture
def refused_port_on_ipv6() -> Iterator[int]:
    try:
        with refusing("::1") as port:
            yield port
    except OSError:
        requires("::1 on the loopback")


@on_every_client
def test_a_refused_port_on_ipv6_is_refused(client: Client, refused_port_on_ipv6: int) -> None:
    check_refused(client, Place(host="::1", port=refused_port_on_ipv6))


@on_every_client
def test_a_unix_socket_without_its_server_is_refused(client: Client, folder: str) -> None:
    """The file is there, and nobody listens: what a killed server leaves."""
    place = Place(folder=folder, port=5999)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(place.path))
        server.listen()
    check_refused(client, place)


@on_every_client
def test_a_missing_unix_socket_is_not_refused(client: Client, folder: str) -> None:
    """Whether it will ever come is not known: the path may be wrong."""
    assert kind_of(client.error(Place(folder=folder, port=5999))) is None


@pytest.mark.parametrize("client", clients_of("postgresql"), ids=str)
def test_several_hosts_that_all_refuse_are_refused(client: Client) -> None:
    with refusing() as one, refusing() as other:
        place = Place(host="127.0.0.1,127.0.0.1", port=f"{one},{other}")
        assert kind_of(client.error(place)) == "refused"


@pytest.mark.skipif(sys.version_info < (3, 11), reason="`all_errors` is of Python 3.11")
def test_a_group_of_refusals_is_refused(refused_port: int) -> None:
    with pytest.raises(ExceptionGroup) as caught:  # noqa: F821
        socket.create_connection(("127.0.0.1", refused_port), all_errors=True)
    assert kind_of(caught.value) == "refused"


# What a server says.


@dataclass(frozen=True)
class Answer:
    """A server that says this; what it comes to, for all clients or, by name, for some of them."""

    id: str
    protocol: str
    handler: Handler
    kind: str | None
    but: dict[str, str | None] = field(default_factory=dict)
    place: dict[str, Any] = field(default_factory=dict)

    def expected(self, client: Client) -> str | None:
        return self.but.get("libpq" if client.libpq else "other", self.kind)


STARTING = "the database system is starting up"
HINT = "\n\tIs the server running on that host and accepting TCP/IP connections?\n"
QUOTED = f'connection to server at "10.0.0.5", port 5432 failed: Connection refused{HINT}'
LISTED = f"Multiple connection attempts failed. All failures were:\n- host: 'db', port: 5432, hostaddr: '10.0.0.5': connection failed: {QUOTED}"  # noqa: E501
LOADING = "-LOADING Redis is loading the dataset in memory"

NOT_READY = (
    *(
        Answer(text.split(" is ")[1], "postgresql", postgres("57P03", text), "not_ready")
        for text in (
            STARTING,
            "the database system is shutting down",
            "the database system is in recovery mode",
            "the database system is not yet accepting connections",
            "the database system is not accepting connections",
        )
    ),
    # libpq passes no SQLSTATE of a failed connect on, and nobody can list every language of a server.
    Answer(
        "starting up, in German",
        "postgresql",
        postgres("57P03", "das Datenbanksystem startet"),
        "not_ready",
        {"libpq": None},
    ),
    Answer("loading", "redis", redis_server(LOADING), "not_ready"),
    Answer("loading, said to PING", "redis", redis_server(LOADING, to="PING"), "not_ready"),
    Answer("loading, said to SELECT", "redis", redis_server(LOADING, to="SELECT"), "not_ready", place={"number": 3}),
    Answer("loading, with a password", "redis", redis_server(LOADING), "not_ready", place={"password": "s3cret"}),
    *(
        Answer(text[1:12], "redis", redis_server(text, to="PING"), "not_ready")
        for text in (
            "-MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
            "-CLUSTERDOWN The cluster is down",
            "-CLUSTERDOWN Hash slot not served",
        )
    ),
    Answer("maximum of clients", "redis", says(b"-ERR max number of clients reached\r\n"), "not_ready"),
    Answer("1040 at once", "mysql", mysql(1040, "Too many connections", greets=False), "not_ready"),
    Answer("1040 at login", "mysql", mysql(1040, "Too many connections", state="08004"), "not_ready"),
    Answer("1053 at once", "mysql", mysql(1053, "Server shutdown in progress", greets=False), "not_ready"),
    Answer("1053 at login", "mysql", mysql(1053, "Server shutdown in progress", state="08S01"), "not_ready"),
)

HOPELESS = (
    *(
        Answer(name, "postgresql", postgres(state, text), "hopeless")
        for name, state, text in (
            ("wrong password", "28P01", 'password authentication failed for user "someone"'),
            (
                "no pg_hba entry",
                "28000",
                'no pg_hba.conf entry for host "::1", user "u", database "d", no encryption',
            ),
            ("pg_hba rejects", "28000", 'pg_hba.conf rejects connection for host "127.0.0.1", user "u", database "d"'),
            ("no such role", "28000", 'role "someone" does not exist'),
            ("role may not log in", "28000", 'role "someone" is not permitted to log in'),
            ("no such database", "3D000", 'database "things" does not exist'),
            # Names may quote anything.
            ("database named as a refusal", "3D000", 'database "x failed: Connection refused" does not exist'),
            ("database named as a start", "3D000", f'database "{STARTING}" does not exist'),
            ("user named as a refusal", "28P01", 'password authentication failed for user "x": Connection refused"'),
        )
    ),
    Answer(
        "no TLS, and TLS required",
        "postgresql",
        postgres("57P03", STARTING),
        "hopeless",
        {"other": None},  # asyncpg says it as a plain ConnectionError
        place={"sslmode": "require"},
    ),
    *(
        Answer(text[1:].split(":")[0][:30], "redis", redis_server(text, to=to), "hopeless", place=place)
        for text, to, place in (
            ("-WRONGPASS invalid username-password pair or user is disabled.", None, {"password": "guess"}),
            ("-NOAUTH Authentication required.", None, {}),
            ("-NOAUTH Authentication required.", "PING", {}),
            ("-NOPERM User default has no permissions to run the 'ping' command", "PING", {}),
            ("-ERR DB index is out of range", "SELECT", {"number": 99}),
        )
    ),
    *(
        Answer(
            f"{number} {'at login' if greets else 'at once'}",
            "mysql",
            mysql(number, text, state=state, greets=greets),
            "hopeless",
        )
        for number, text, state, greets in (
            (1045, "Access denied for user 'someone'@'localhost' (using password: YES)", "28000", True),
            (1044, "Access denied for user 'someone'@'%' to database 'things'", "42000", True),
            (1049, "Unknown database 'things'", "42000", True),
            (1049, "Unknown database 'x (111 \"Connection refused\")'", "42000", True),
            (1130, "Host '127.0.0.1' is not allowed to connect to this MySQL server", None, False),
            (1698, "Access denied for user 'root'@'localhost'", "28000", True),
        )
    ),
)

NOTHING_KNOWN = (
    *(
        Answer(name, "postgresql", postgres(state, text), None, but)
        for name, state, text, but in (
            ("too many clients", "53300", "sorry, too many clients already", {}),
            ("ended by its administrator", "57P01", "terminating connection due to administrator command", {}),
            ("a pooler's cached error", "08P01", "server login has been failing, cached error: connect failed", {}),
            # What a server or a pooler says about another hop says nothing about this one.
            ("quotes a refusal", "08001", f'could not connect to server "shard1": {QUOTED}', {}),
            ("begins with a refusal", "08001", QUOTED, {}),
            ("a line that is a refusal", "08001", f"shard1 is down\n{QUOTED}", {}),
            ("lines as psycopg lists them", "08001", f"shard1 is down\n{LISTED}", {}),
            ("one line as psycopg lists it", "08001", "shard1 is down\n" + LISTED.partition("\n")[2], {}),
            # asyncpg knows the code; libpq's text no longer shows where the name ends.
            ("database named as a line", "3D000", f'database "x\n{QUOTED}" does not exist', {"other": "hopeless"}),
            ("database named as a list", "3D000", f'database "x\n{LISTED}" does not exist', {"other": "hopeless"}),
            ("quotes a start", "28000", f"LDAP says: {STARTING}", {"other": "hopeless"}),
        )
    ),
    *(
        Answer(text[1:].split(":")[0][:30], "redis", redis_server(text, to=to), None)
        for text, to in (
            ("-ERR Connection refused", None),
            ("-Connection refused", "PING"),
            ("-ERR Error 111 connecting to 10.0.0.5:6379. Connection refused.", "PING"),
            ("-ERR backend: LOADING Redis is loading the dataset in memory", "PING"),
        )
    ),
    *(
        Answer(f"{number}", "mysql", mysql(number, text, state="HY000"), None)
        for number, text in (
            (2003, "Can't connect to MySQL server on '10.0.0.5' (111)"),
            (1429, "Unable to connect to foreign data source: Can't connect to MySQL server on '10.0.0.5' (111)"),
            (9001, "Max connect timeout reached while reaching hostgroup 0 after 10000ms"),
            (2013, "Lost connection to MySQL server at 'reading initial communication packet', system error: 111"),
        )
    ),
    *(
        Answer(name, protocol, handler, None)
        for protocol in ("postgresql", "redis", "mysql")
        for name, handler in (
            ("hangs up", hang_up),
            ("resets", reset),
            ("listens and resets", listen_and_reset),
            ("speaks HTTP", says(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")),
            ("speaks of a refusal", says(f"Connection refused{HINT}".encode())),
            ("says zeros", says(b"\0" * 64)),
        )
    ),
    Answer("the oldest form of an error", "postgresql", says(f"EFATAL:  {STARTING}\n\0".encode()), None),
)

CASES = [
    pytest.param(answer, client, id=f"{client}-{answer.id}".replace(" ", "_"))
    for answer in (*NOT_READY, *HOPELESS, *NOTHING_KNOWN)
    for client in clients_of(answer.protocol)
]


@pytest.mark.parametrize(("answer", "client"), CASES)
def test_what_a_server_says_has_one_meaning(answer: Answer, client: Client) -> None:
    with serve(answer.handler) as port:
        assert kind_of(client.error(Place(port=port, **answer.place))) == answer.expected(client)


@pytest.mark.parametrize("handler", [hang_up, reset, listen_and_reset], ids=["hang_up", "reset", "later"])
@pytest.mark.parametrize("client", clients_of("tcp"), ids=str)
def test_a_plain_connection_that_ends_is_nothing_known(client: Client, handler: Handler) -> None:
    """EOF or reset, a race: neither is a refusal."""
    with serve(handler) as port:
        assert kind_of(client.error(Place(port=port))) is None


@pytest.mark.parametrize("package", [psycopg, psycopg2], ids=["psycopg", "psycopg2"])
def test_what_an_old_libpq_says_has_one_meaning(package: Any) -> None:
    """Before PostgreSQL 14 a server's answer stood there without a word about the server before it."""
    refusal = 'could not connect to server: Connection refused\n\tIs the server running on host "h" (10.0.0.5) ...?\n'
    told: dict[str, str | None] = {
        refusal: "refused",
        refusal + refusal: "refused",
        f"FATAL:  {STARTING}\n": "not_ready",
        'FATAL:  role "someone" does not exist\n': "hopeless",
        f"FATAL:  shard1 is down: {refusal}": None,
        f"FATAL:  shard1 is down\n{refusal}": None,
        f"FATAL:  shard1 is down\n{QUOTED}": None,
        f'FATAL:  database "x\n{QUOTED}" does not exist\n': None,
    }
    assert {text: kind_of(package.OperationalError(text)) for text in told} == told


@pytest.mark.parametrize("package", [psycopg, psycopg2], ids=["psycopg", "psycopg2"])
def test_a_server_that_serves_otherwise_than_was_asked_for_is_not_ready(package: Any) -> None:
    """libpq asks it, by `target_session_attrs`; a server that says the same sentence itself is not meant."""
    server = 'connection to server at "db" (10.0.0.5), port 5432 failed: '
    said = ("session is read-only", "session is not read-only", "server is in hot standby mode")
    told: dict[str, str | None] = {
        **{f"{server}{text}\n": "not_ready" for text in (*said, "server is not in hot standby mode")},
        'could not make a writable connection to server "db:5432"\n': "not_ready",  # before PostgreSQL 14
        f"{server}session is read-only\n{server}Connection refused\n": "not_ready",
        f'{server}FATAL:  database "session is read-only" does not exist\n': "hopeless",
        f"{server}FATAL:  session is read-only\n": None,
        f"{server}the session is read-only\n": None,
    }
    assert {text: kind_of(package.OperationalError(text)) for text in told} == told


def test_silence_is_a_timeout_or_nothing_known() -> None:
    """All clients side by side, because libpq waits two seconds at least.

    Those that know one timeout for all of the connect have sent nothing but their greeting. The others lost an answer.
    """
    expected = {client.name: None if client.protocol in ("redis", "mysql") else "unreachable" for client in CLIENTS}
    with serve(silence) as port, ThreadPoolExecutor(len(CLIENTS)) as threads:
        errors = threads.map(lambda client: client.error(Place(port=port, timeout=0.3)), CLIENTS)
        assert dict(zip(expected, map(kind_of, errors), strict=True)) == expected


@pytest.mark.parametrize("host", ["nosuch.invalid", "Connection refused", 'x" (127.0.0.1), port 1 failed: WORDS'])
@on_every_client
def test_a_name_that_does_not_resolve_is_unresolved(client: Client, host: str) -> None:
    """`.invalid` never resolves (RFC 6761). A name may quote anything."""
    assert kind_of(client.error(Place(host=host, port=5999))) == "unresolved"


@pytest.mark.parametrize(
    "words", ["Connection refused", 'x" failed: Connection refused y', 'x" failed: Connection refused (y']
)
@on_every_client
def test_a_folder_that_quotes_a_refusal_is_not_refused(client: Client, folder: str, words: str) -> None:
    """A Unix socket that is missing, in a folder of a strange name."""
    strange = Path(folder) / words
    strange.mkdir()
    assert kind_of(client.error(Place(folder=str(strange), port=5999))) is None


# Several hosts.

WRONG_PASSWORD = postgres("28P01", 'password authentication failed for user "someone"')

MIXED: tuple[tuple[str, Handler, dict[str, str | None]], ...] = (
    ("a wrong password", WRONG_PASSWORD, {"libpq": None, "asyncpg": "hopeless"}),
    ("no such database", postgres("3D000", 'database "things" does not exist'), {"libpq": None, "asyncpg": "hopeless"}),
    ("a start", postgres("57P03", STARTING), {"libpq": "not_ready", "asyncpg": "not_ready"}),
    ("a reset", reset, {"libpq": None, "asyncpg": None}),
)


@pytest.mark.parametrize(("name", "handler", "expected"), MIXED, ids=[name for name, *_ in MIXED])
@pytest.mark.parametrize("client", clients_of("postgresql"), ids=str)
def test_a_refused_host_and_another_are_as_certain_as_the_other(
    client: Client, name: str, handler: Handler, expected: dict[str, str | None], refused_port: int
) -> None:
    """Waiting must be able to help with each of them. asyncpg shows the last one only."""
    with serve(handler) as port:
        place = Place(host="127.0.0.1,127.0.0.1", port=f"{refused_port},{port}")
        assert kind_of(client.error(place)) == expected["libpq" if client.libpq else "asyncpg"]


@pytest.mark.parametrize("client", [client for client in clients_of("postgresql") if client.libpq], ids=str)
def test_the_order_of_hosts_is_nothing_to_libpq(client: Client, refused_port: int) -> None:
    with serve(postgres("57P03", STARTING)) as port:
        place = Place(host="127.0.0.1,127.0.0.1", port=f"{port},{refused_port}")
        assert kind_of(client.error(place)) == "not_ready"


@pytest.mark.parametrize("client", clients_of("postgresql"), ids=str)
def test_a_refused_host_and_an_unknown_name_may_both_come(client: Client, refused_port: int) -> None:
    """psycopg drops the name without a word, and the refused host is all it shows."""
    place = Place(host="127.0.0.1,nosuch.invalid", port=f"{refused_port},{refused_port}")
    drops = client.libpq and "psycopg2" not in client.name
    assert kind_of(client.error(place)) == ("refused" if drops else "unresolved")


# Somebody else's refusal in the context.

REPLICAS: dict[str, Handler] = {
    "postgresql": WRONG_PASSWORD,
    "redis": redis_server("-WRONGPASS invalid username-password pair or user is disabled."),
    "mysql": mysql(1045, "Access denied for user 'someone'@'localhost' (using password: YES)", state="28000"),
}


def fall_back(client: Client, primary: Callable[[], Any], replica: Place) -> Exception:
    """Write the fallback as people do, in the world of the client, and return what comes out."""

    def connect() -> None:
        try:
            primary()
        except Exception:
            client.connect(replica)

    async def connect_async() -> None:
        try:
            result = primary()
            if asyncio.iscoroutine(result):
                await result
        except Exception:
            await client.connect(replica)

    try:
        asyncio.run(connect_async()) if client.is_async else connect()
    except Exception as error:
        return error
    raise AssertionError("it succeeded")


@pytest.mark.parametrize("first", ["the same client", "a socket"])
@pytest.mark.parametrize("client", SPEAKING, ids=str)
def test_a_refused_primary_says_nothing_of_its_replica(client: Client, first: str, refused_port: int) -> None:
    """`try: primary() except OSError: replica()`: a wrong password there stays one, a reset stays a reset."""

    def primary() -> Any:
        if first == "the same client":
            return client.connect(Place(port=refused_port))
        return socket.create_connection(("127.0.0.1", refused_port))

    for handler, expected in ((REPLICAS[client.protocol], "hopeless"), (hang_up, None), (listen_and_reset, None)):
        with serve(handler) as port:
            error = fall_back(client, primary, Place(port=port))
        assert error.__context__ is not None or error.__cause__ is not None
        assert kind_of(error) == expected


@pytest.mark.parametrize("driver", ["psycopg", "psycopg2"])
def test_a_creator_that_falls_back_says_nothing_of_its_primary(driver: str, refused_port: int) -> None:
    """SQLAlchemy wraps the replica's error, behind which the primary's stands."""
    connect = {"psycopg": psycopg, "psycopg2": psycopg2}[driver].connect

    def create() -> Any:
        try:
            return connect(host="127.0.0.1", port=refused_port, connect_timeout=2)
        except Exception:
            return connect(host="127.0.0.1", port=port, connect_timeout=2, user="u", dbname="d")

    with serve(hang_up) as port:
        engine = sqlalchemy.create_engine(f"postgresql+{driver}://", creator=create, poolclass=NullPool)
        with pytest.raises(sqlalchemy.exc.OperationalError) as caught:
            engine.connect()
    assert kind_of(caught.value) is None


@pytest.mark.parametrize("client", SPEAKING, ids=str)
def test_an_error_raised_while_a_refusal_is_handled_is_not_one(client: Client, refused_port: int) -> None:
    """An application's own `KeyError`, or its `raise ... from None`."""
    refusal = client.error(Place(port=refused_port))

    def fail(*, quietly: bool) -> None:
        try:
            raise refusal
        except Exception:
            if quietly:
                raise RuntimeError("no configuration") from None
            {}["host"]

    for quietly in (True, False):
        with pytest.raises((KeyError, RuntimeError)) as caught:
            fail(quietly=quietly)
        assert kind_of(caught.value) is None


# What follows.


@pytest.mark.parametrize("client", SPEAKING, ids=str)
def test_only_what_waiting_may_mend_is_tried_again(client: Client, refused_port: int) -> None:
    """The default policy takes refusals, the one for a start also servers that are not ready, and no wrong password."""
    busy: dict[str, Handler] = {
        "postgresql": postgres("57P03", STARTING),
        "redis": redis_server(LOADING),
        "mysql": mysql(1053, "Server shutdown in progress", greets=False),
    }

    def attempts(policy: Policy, place: Place) -> int:
        count = 0

        @retry_on_refused(policy=policy.replace(attempts=3, backoff=Backoff(initial=0, maximum=0), observers=()))
        def connect() -> None:
            nonlocal count
            count += 1
            result = client.connect(place)
            if client.is_async:
                asyncio.run(result)

        with pytest.raises(Exception):  # noqa: B017  # whatever the client raises
            connect()
        return count

    with serve(busy[client.protocol]) as starting, serve(REPLICAS[client.protocol]) as guarded:
        for policy, tried in ((Policy(), (3, 1, 1)), (Policy.startup(), (3, 3, 1))):
            assert tuple(attempts(policy, Place(port=port)) for port in (refused_port, starting, guarded)) == tried
