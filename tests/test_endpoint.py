"""A target in any of its forms becomes one address, and nothing else of it is kept or repeated."""

from __future__ import annotations

import copy
import dataclasses
import ipaddress
import pickle
import time
import traceback
from collections.abc import Callable
from urllib.parse import quote

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from resilient.endpoint import DEFAULT_PORTS, Endpoint
from resilient.errors import TargetError

CORE = "xk7qz"
SOCKET = "/run/x.sock"

unhurried = settings(deadline=None, max_examples=60)


def tcp(host: str, port: int, scheme: str = "tcp") -> Endpoint:
    return Endpoint(scheme=scheme, host=host, port=port)


def unix(path: str = SOCKET) -> Endpoint:
    return Endpoint(scheme="unix", path=path)


def postgresql(host: str = "db", port: int = 5432) -> Endpoint:
    return tcp(host, port, "postgresql")


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("db:5432", tcp("db", 5432)),
        ("DB.Example.COM.:1", tcp("db.example.com.", 1)),
        ("my_db-1.internal:65535", tcp("my_db-1.internal", 65535)),
        ("10.0.0.7:80", tcp("10.0.0.7", 80)),
        ("env:80", tcp("env", 80)),
        ("unix:80", tcp("unix", 80)),
        ("bücher.example:80", tcp("bücher.example", 80)),
        ("xn--bcher-kva.example:80", tcp("xn--bcher-kva.example", 80)),
        ("123456789012:80", tcp("123456789012", 80)),
        ("[::1]:5432", tcp("::1", 5432)),
        ("[0:0:0:0:0:0:0:1]:5432", tcp("::1", 5432)),
        ("[2001:DB8::A]:80", tcp("2001:db8::a", 80)),
        ("[::ffff:1.2.3.4]:80", tcp("::ffff:1.2.3.4", 80)),
        ("[fe80::1%eth0]:80", tcp("fe80::1%eth0", 80)),
        ("[FE80::1%Eth0]:80", tcp("fe80::1%Eth0", 80)),
        ("http://[fe80::1%25eth0]/", tcp("fe80::1%eth0", 80, "http")),
        ("tcp://db:5432", tcp("db", 5432)),
    ],
)
def test_a_host_and_a_port_are_read(text: str, endpoint: Endpoint) -> None:
    """Names keep their spelling but for the case; IPv6 addresses take their shortest form."""
    assert Endpoint.parse(text) == endpoint


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("postgresql://db", postgresql()),
        ("postgres://user:pass@db/app", postgresql()),
        ("postgresql+psycopg://user:p%40ss@db:6543/app?sslmode=require", postgresql(port=6543)),
        ("POSTGRESQL://DB", postgresql()),
        ("postgresql://user:p@ss@db/app", postgresql()),
        ("postgresql://us/er@db", None),
        ("HTTP://EXAMPLE.com", tcp("example.com", 80, "http")),
        ("https://db/path?x=1&host=y#z", tcp("db", 443, "https")),
        ("redis://:secret@cache/0", tcp("cache", 6379, "redis")),
        ("redis://cache?port=7000", tcp("cache", 7000, "redis")),
        ("rediss://cache:6380", tcp("cache", 6380, "rediss")),
        ("redis+ssl://cache", tcp("cache", 6379, "rediss")),
        ("valkeys://cache", tcp("cache", 6379, "valkeys")),
        ("amqp://guest:guest@broker//", tcp("broker", 5672, "amqp")),
        ("pyamqp://broker//", tcp("broker", 5672, "amqp")),
        ("amqp+ssl://broker", tcp("broker", 5671, "amqps")),
        ("kafka+ssl://broker:9093", tcp("broker", 9093, "kafka")),
        ("mysql+pymysql://u:p@db/app", tcp("db", 3306, "mysql")),
        ("mongodb://u:p@db/?replicaSet=rs0", tcp("db", 27017, "mongodb")),
        ("nats://a,b:c@broker", tcp("broker", 4222, "nats")),
        ("own-scheme://db:1", tcp("db", 1, "own-scheme")),
        ("http://a%2Eb", tcp("a.b", 80, "http")),
    ],
)
def test_a_url_is_read_with_the_port_of_its_scheme(text: str, endpoint: Endpoint | None) -> None:
    """The scheme loses its driver; user, path and query are dropped."""
    if endpoint is None:
        with pytest.raises(TargetError):
            Endpoint.parse(text)
    else:
        assert Endpoint.parse(text) == endpoint


@pytest.mark.parametrize("scheme", DEFAULT_PORTS)
def test_every_scheme_of_the_table_has_its_port(scheme: str) -> None:
    """A URL without a port takes the one of the table."""
    assert Endpoint.parse(f"{scheme}://user:pass@db") == tcp("db", DEFAULT_PORTS[scheme], scheme)


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("host=db", postgresql()),
        ("host=db port=6543 user=x password='a b'", postgresql(port=6543)),
        (" host = 'db'\n\tport\n=\t6543 ", postgresql(port=6543)),
        ("password='it\\'s host=evil' host=db", postgresql()),
        ("password=a\\ host=evil host=db", postgresql()),
        ("password='a\\\\'host=db", postgresql()),
        ("host=evil host=db", postgresql()),
        ("host=db port=''", postgresql()),
        ("host=d\\b", postgresql()),
        ("host=::1", postgresql("::1")),
        ("host=db hostaddr=10.0.0.7", postgresql("10.0.0.7")),
        ("host=/run/postgresql", unix("/run/postgresql/.s.PGSQL.5432")),
        ("host=/run/postgresql/ port=5433", unix("/run/postgresql/.s.PGSQL.5433")),
        ("host=/run/postgresql hostaddr=::1", postgresql("::1")),
        ("host=db password=postgresql://evil:1/", postgresql()),
        ("postgresql:///app?host=db", postgresql()),
        ("postgresql:///app?host=/var/run/postgresql&port=5433", unix("/var/run/postgresql/.s.PGSQL.5433")),
        ("postgresql://user@:5433/app?host=%2Frun", unix("/run/.s.PGSQL.5433")),
        ("postgresql://%2Fvar%2Frun%2Fpostgresql/app", unix("/var/run/postgresql/.s.PGSQL.5432")),
        ("postgresql://db/?h%6Fst=db&port=5433", postgresql(port=5433)),
        ("postgresql://db/?hostaddr=10.0.0.7", postgresql("10.0.0.7")),
    ],
)
def test_libpq_connection_strings_are_read_by_its_own_rules(text: str, endpoint: Endpoint) -> None:
    """Quotes, backslashes, socket directories and hostaddr are what they are to PostgreSQL's client."""
    assert Endpoint.parse(text) == endpoint


@pytest.mark.parametrize(
    "text",
    [
        "unix:///run/x.sock",
        "unix:/run/x.sock",
        "UNIX:///run/x.sock",
        "unix://user:pass@/run/x.sock?db=0",
        "unix:///run/%78.sock",
        "redis+socket:///run/x.sock?virtual_host=0",
        "redis+unix://:pass@/run/x.sock",
        "http+unix://%2Frun%2Fx.sock/v1/info",
        "mysql+pymysql://u:p@/app?charset=utf8&unix_socket=/run/x.sock",
        "mysql://u:p@localhost/app?unix_socket=%2Frun%2Fx.sock",
    ],
)
def test_a_unix_socket_is_read(text: str) -> None:
    """Every way to write a path gives the same endpoint."""
    assert Endpoint.parse(text) == unix()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "empty"),
        (" ", "space"),
        ("db", "no port"),
        ("db:", "no port"),
        ("db:x", "decimal"),
        ("db:+1", "decimal"),
        ("db:-1", "decimal"),
        ("db:1_0", "decimal"),
        ("db: 1", "decimal"),
        ("db:٣", "decimal"),
        ("db:１", "decimal"),
        ("db:²", "decimal"),
        ("db:0", "begins with 0"),
        ("db:05432", "begins with 0"),
        ("db:65536", "out of range"),
        ("db:" + "9" * 5000, "too long"),
        (":5432", "no host"),
        (":", "no port"),
        ("://", "scheme"),
        ("://db:1", "scheme"),
        ("1db://db:1", "scheme"),
        ("a b://db:1", "scheme"),
        ("a:b:c", "more than one colon"),
        ("::1", "brackets"),
        ("::1:5432", "brackets"),
        ("fe80::1%eth0", "brackets"),
        ("redis://::1:6379", "brackets"),
        ("redis://%3A%3A1:6379", "brackets"),
        ("[::1]", "no port"),
        ("[::1]:", "no port"),
        ("[::1", "brackets"),
        ("[::1]5432", "brackets"),
        ("[db]:5432", "brackets"),
        ("[]:5432", "brackets"),
        ("[:::1]:5432", "IPv6"),
        ("[::1%]:5432", "zone"),
        ("[::1%a/b]:5432", "scheme"),
        ("http://[::1%25a b]", "space"),
        ("db.example:5432\n", "control"),
        ("\ndb:5432", "control"),
        (" db:5432", "space"),
        ("db:5432 ", "space"),
        ("db\x00:5432", "control"),
        ("host=db\x00.evil", "control"),
        ("d\u200bb:5432", "invisible"),
        ("\u202edb:5432", "invisible"),
        ("\ufeffdb:5432", "invisible"),
        ("db\ud800:5432", "undecodable"),
        ("http://d%00b", "control"),
        ("http://d%0Ab", "control"),
        ("http://d%E2%80%8Bb", "invisible"),
        ("http://d%FFb", "undecodable"),
        ("http://d%20b", "white space"),
        ("http://d%40b", "character no host name has"),
        ("http://d%2Fb", "character no host name has"),
        ("http://d%zzb", "hexadecimal"),
        ("http://d%4", "hexadecimal"),
        ("http://d b", "space"),
        ("host='d b'", "white space"),
        ("host='d\nb'", "control"),
        (".:80", "empty label"),
        ("a..b:80", "empty label"),
        (".a:80", "empty label"),
        ("-oProxyCommand:80", 'begins with "-"'),
        ("d*b:80", "character"),
        ("a" * 64 + ":80", "label longer"),
        ("a." * 128 + ":80", "longer than 253"),
        ("ü" * 64 + ":80", "ways"),
        ("straße.example:80", "xn--"),
        ("bu\u0308cher.example:80", "xn--"),
        ("ｄｂ:80", "xn--"),
        ("１２７.0.0.1:80", "xn--"),
        ("127。0。0。1:80", "xn--"),
        ("℀:80", "xn--"),
        ("127.1:80", "IPv4"),
        ("127.0.0.01:80", "IPv4"),
        ("256.0.0.1:80", "IPv4"),
        ("1.2.3.4.:80", "IPv4"),
        ("0x7f.0.0.1:80", "IPv4"),
        ("2130706433:80", "IPv4"),
        ("8080:80", "IPv4"),
        ("user:pass@db:5432", "no scheme"),
        ("db:5432/app", "without its scheme"),
        ("/run/x.sock", "unix://"),
        ("a:1,b:2", "several"),
        ("host=a,b", "several"),
        ("host=a port=1,2", "several"),
        ("mongodb://a,b", "several"),
        ("mongodb://u:p@a:1,b:2/?x=y", "several"),
        ("nats://a:1,nats://b:2", "several"),
        ("amqp://a//;amqp://b//", "several"),
        ("postgresql:///?host=/a,/b", "several"),
        ("postgresql:///?host=a&host=b", "several"),
        ("postgresql://a?host=b", "two things"),
        ("postgresql://a:1?port=2", "two things"),
        ("mysql://a?host=b", "two things"),
        ("redis://a:1?port=2", "two things"),
        ("mongodb+srv://db", "SRV"),
        ("redis+sentinel://db/primary", "Sentinel"),
        ("sqlite:///x.db", "file"),
        ("sqlite+aiosqlite://", "file"),
        ("file:///x", "file"),
        ("own://db", "none is usual"),
        ("kafka+ssl://db", "none is usual"),
        ("redis://", "no host"),
        ("redis:///0", "no host"),
        ("redis://:6379", "no host"),
        ("redis://user:pass@", "no host"),
        ("redis://db:", "no port"),
        ("postgresql://", "no host"),
        ("postgresql:///app?host=", "no host"),
        ("postgresql://db#x", "percent-encode"),
        ("dbname=app user=x", "no host"),
        ("host=''", "no host"),
        ("host=@abstract", "abstract"),
        ("hostaddr=db", "IP address"),
        ("host=[::1]", "IPv6"),
        ("host", "no port"),
        ("host db=x", "key=value"),
        ("=db", "key=value"),
        ("host='db", "key=value"),
        ("host=db 'x", "key=value"),
        ("postgresql://user:12/3@db/app", "percent-encode"),
        ("postgresql://user:12?3@db/app", "percent-encode"),
        ("postgresql://user:12#3@db/app", "percent-encode"),
        ("postgresql://user:p@12/3@db/app", "percent-encode"),
        ("redis://db:6379 password=x@evil", "space"),
        ("unix:", "absolute"),
        ("unix:x.sock", "absolute"),
        ("unix://", "absolute"),
        ("unix://run/x.sock", "///"),
        ("unix://localhost/run/x.sock", "///"),
        ("unix:///", "directory"),
        ("unix:///run/", "directory"),
        ("unix:///run/%0Ax", "control"),
        ("unix:///run/a b", "white space"),
        ("unix:///run/%20x", "white space"),
        ("unix:///run/%E2%80%AEx", "invisible"),
        ("unix:///run/%FFx", "undecodable"),
        ("unix:///run/a@b", "percent-encode"),
        ("unix:///" + "a" * 107, "107"),
        ("unix:///" + "ä" * 54, "107"),
        ("host=/" + "a" * 107, "107"),
        ("env:", "no name"),
        ("env:1X", "no name"),
        ("env:A-B", "no name"),
        ("env://X", "no name"),
        ("x" * 1_000_000, "longer"),
        ("x" * 40 + "://db:1", "scheme longer"),
    ],
)
def test_what_is_no_target_is_refused_with_a_reason(text: str, problem: str) -> None:
    """The message says what is wrong, in one readable line."""
    with pytest.raises(TargetError, match=f"(?i)^the target .*{problem}") as caught:
        Endpoint.parse(text)
    assert str(caught.value).isprintable()
    assert caught.value.__context__ is None


@pytest.mark.parametrize("value", [None, 3, b"db:5432", ["db:5432"], ("db", 5432)])
def test_what_is_no_text_is_a_type_error(value: object) -> None:
    """The message names the type and shows nothing."""
    with pytest.raises(TypeError, match=f"^target must be a str, not {type(value).__name__}$"):
        Endpoint.parse(value)  # type: ignore[arg-type]


def test_an_endpoint_is_parsed_to_itself() -> None:
    """Whoever takes a target may call `parse` without looking."""
    endpoint = tcp("db", 5432)
    assert Endpoint.parse(endpoint) is endpoint


class Hostile(str):
    __slots__ = ()

    def __str__(self) -> str:
        raise RuntimeError

    __getitem__ = __len__ = __contains__ = __eq__ = __format__ = lower = partition = __str__  # type: ignore[assignment]
    __hash__ = str.__hash__


def test_a_hostile_str_is_only_its_characters() -> None:
    """No method of a subclass of `str` is called, and an exact `str` is kept."""
    endpoint = Endpoint.parse(Hostile("db:5432"))
    assert type(endpoint.host) is str
    assert tcp(Hostile("db"), 5432) == endpoint


# The environment


def test_a_target_is_read_from_the_environment_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable is read when the target is parsed, not later."""
    monkeypatch.setenv("DATABASE_URL", "postgresql://user:pass@db/app")
    endpoint = Endpoint.parse("env:DATABASE_URL")
    monkeypatch.delenv("DATABASE_URL")
    assert endpoint == postgresql()


@pytest.mark.parametrize("value", ["db:5432", "host=db password=x", "unix:///run/x.sock", "[::1]:80", "env:80"])
def test_a_variable_may_hold_every_other_form(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    """Only `env:` itself is not followed again."""
    monkeypatch.setenv("TARGET", value)
    assert Endpoint.parse("env:TARGET") == Endpoint.parse("Env:TARGET") == Endpoint.parse(value)


@pytest.mark.parametrize(
    ("value", "problem"),
    [(None, "not set"), ("", "empty"), ("env:TARGET", "another environment variable"), (f"user:{CORE}@db:1", "scheme")],
)
def test_an_unusable_variable_is_named_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, value: str | None, problem: str
) -> None:
    """The message has the variable's name and nothing of its value."""
    monkeypatch.delenv("TARGET", raising=False)
    if value is not None:
        monkeypatch.setenv("TARGET", value)
    with pytest.raises(TargetError, match=f"variable TARGET.*{problem}") as caught:
        Endpoint.parse("env:TARGET")
    assert CORE not in all_that_is_said(caught.value)


# Values


def test_an_endpoint_is_a_value() -> None:
    """It compares and hashes by what it holds, cannot be changed, and survives copying and pickling."""
    endpoint = tcp("db", 5432)
    assert endpoint == Endpoint(host="DB", port=5432)
    assert len({endpoint, tcp("db", 5432), postgresql(), tcp("db", 5433)}) == 3
    assert repr(endpoint) == "Endpoint(scheme='tcp', host='db', port=5432, path=None)"
    with pytest.raises(dataclasses.FrozenInstanceError):
        endpoint.host = "evil"  # type: ignore[misc]
    with pytest.raises((AttributeError, TypeError)):
        endpoint.other = 1  # type: ignore[attr-defined]
    assert dataclasses.replace(endpoint, port=1) == tcp("db", 1)
    for copied in (copy.copy(endpoint), copy.deepcopy(endpoint), *(reloaded(endpoint, n) for n in range(6))):
        assert copied == endpoint
        assert hash(copied) == hash(endpoint)


def reloaded(endpoint: Endpoint, protocol: int) -> object:
    return pickle.loads(pickle.dumps(endpoint, protocol))


@pytest.mark.parametrize(
    ("endpoint", "text"),
    [
        (tcp("db", 5432), "db:5432"),
        (tcp("::1", 5432), "[::1]:5432"),
        (tcp("fe80::1%eth0", 5432), "[fe80::1%eth0]:5432"),
        (tcp("fe80::1%25", 5432), "[fe80::1%25]:5432"),
        (tcp("fe80::1%eth0", 80, "http"), "http://[fe80::1%25eth0]:80"),
        (tcp("fe80::1%25", 80, "http"), "http://[fe80::1%2525]:80"),
        (postgresql(), "postgresql://db:5432"),
        (tcp("db", 5432, "Postgres"), "postgresql://db:5432"),
        (unix(), "unix:///run/x.sock"),
        (unix("/run/50%/a@b?#.sock"), "unix:///run/50%25/a%40b%3F%23.sock"),
        (unix("//run/ä"), "unix:////run/ä"),
    ],
)
def test_str_is_short_and_is_read_again(endpoint: Endpoint, text: str) -> None:
    """`str()` and `parse` are inverse."""
    assert str(endpoint) == text
    assert Endpoint.parse(text) == endpoint


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"host": "db"},
        {"port": 1},
        {"host": "", "port": 1},
        {"host": "db", "port": 0},
        {"host": "db", "port": 65536},
        {"host": "db", "port": 1, "path": SOCKET},
        {"host": "db:1", "port": 1},
        {"host": "[::1]", "port": 1},
        {"host": "user@db", "port": 1},
        {"host": "d b", "port": 1},
        {"host": "db\n", "port": 1},
        {"host": "%64b", "port": 1},
        {"host": "a,b", "port": 1},
        {"path": SOCKET},
        {"scheme": "unix"},
        {"scheme": "unix", "path": ""},
        {"scheme": "unix", "path": "run/x"},
        {"scheme": "unix", "path": SOCKET, "host": "db"},
        {"scheme": "unix", "path": SOCKET, "port": 1},
        {"scheme": "unix", "host": "db", "port": 1},
        {"scheme": "", "host": "db", "port": 1},
        {"scheme": "a+b", "host": "db", "port": 1},
        {"scheme": "a\n", "host": "db", "port": 1},
        {"scheme": "ä", "host": "db", "port": 1},
        {"scheme": "env", "host": "db", "port": 1},
        {"scheme": "sqlite", "host": "db", "port": 1},
        {"scheme": "a" * 33, "host": "db", "port": 1},
    ],
)
def test_an_endpoint_built_by_hand_is_checked(fields: dict[str, object]) -> None:
    """What `parse` refuses cannot be built either."""
    with pytest.raises(TargetError):
        Endpoint(**fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "fields",
    [
        {"host": 3, "port": 1},
        {"host": b"db", "port": 1},
        {"host": "db", "port": "1"},
        {"host": "db", "port": 1.0},
        {"host": "db", "port": True},
        {"scheme": None, "host": "db", "port": 1},
        {"scheme": "unix", "path": b"/x"},
    ],
)
def test_an_endpoint_of_wrong_types_is_a_type_error(fields: dict[str, object]) -> None:
    """A wrong type is told apart from a wrong value."""
    with pytest.raises(TypeError, match="must be"):
        Endpoint(**fields)  # type: ignore[arg-type]


labels = st.from_regex(r"[a-z_][a-z0-9_-]{0,20}", fullmatch=True)
names = st.lists(labels, min_size=1, max_size=4).map(".".join).filter(lambda name: not name[-1].isdigit())
hosts = st.one_of(
    names,
    names.map("{}.".format),
    names.map(str.upper),
    st.ip_addresses().map(str),
    st.builds("{}%{}".format, st.ip_addresses(v=6), st.from_regex(r"[A-Za-z0-9._~-]{1,15}", fullmatch=True)),
    st.sampled_from(["env", "unix", "localhost", "пример.рф", "例え.テスト"]),
)
schemes = st.sampled_from([*DEFAULT_PORTS, "tcp", "own", "postgres", "Redis", "a.b-c"])
paths = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=25).map("/{}".format)
endpoints = st.one_of(
    st.builds(tcp, hosts, st.integers(1, 65535), schemes),
    st.builds(unix, paths.filter(lambda path: path[-1] != "/")),
)


@unhurried
@given(endpoints)
def test_every_endpoint_is_read_again_from_its_str(endpoint: Endpoint) -> None:
    """`str()` of any endpoint is a target that means the same, and fits on a line."""
    assert Endpoint.parse(str(endpoint)) == endpoint
    assert str(endpoint).isprintable()
    assert reloaded(endpoint, 2) == endpoint


@unhurried
@given(st.ip_addresses(v=6), st.integers(1, 65535))
def test_every_ipv6_address_keeps_its_meaning(address: ipaddress.IPv6Address, port: int) -> None:
    """All spellings of an address are one endpoint."""
    endpoint = Endpoint.parse(f"[{address.exploded}]:{port}")
    assert endpoint == Endpoint.parse(f"redis://[{address}]:{port}".replace("redis://", ""))
    assert endpoint.host is not None
    assert ipaddress.ip_address(endpoint.host) == address


PIECES = (
    r"db a xn-- 5432 65536 user pass é ß １ 。 : // / ? # @ [ ] % %2F %40 %00 %FF . - + , ; & = ' \ host hostaddr port "
    "unix_socket ::1 127.0.0.1 /run/x env unix postgresql mysql http redis mongodb srv socket tcp sqlite"
)
pieces = st.sampled_from([*PIECES.split(), "a" * 60, "x" * 300, "\u200b", "\ud800", "\x00", "\n", "\t", " "])
targets = st.one_of(st.lists(pieces, max_size=14).map("".join), st.text(max_size=60))


def outcome(text: str) -> Endpoint | TargetError:
    try:
        return Endpoint.parse(text)
    except TargetError as error:
        return error


@unhurried
@given(targets)
@example("a" * 16_384 + ":1")
def test_nothing_but_a_target_error_comes_out(text: str) -> None:
    """Whatever the text, it is an endpoint that can be written and read again, or a `TargetError`."""
    found = outcome(text)
    if isinstance(found, Endpoint):
        assert Endpoint.parse(str(found)) == found
    else:
        assert found.__context__ is None
        assert str(found).isprintable()
        assert len(str(found)) < 600


@pytest.mark.parametrize(
    "piece", ["a", "a=b ", "a='", "='\\'", "\\", "%41", "[", ":", "@", "&host", ",", ".", "0.", "ü", "+", " ", "'"]
)
@pytest.mark.parametrize("before", ["", "http://", "postgresql://", "host=", "http://a/?", "unix:/", "mysql:///?host="])
def test_a_huge_target_takes_no_time(before: str, piece: str) -> None:
    """Long texts are refused, and those just short enough are read, in milliseconds; a second is for slow machines."""
    start = time.perf_counter()
    outcome(before + piece * (1_000_000 // len(piece)))
    outcome((before + piece * 16_384)[:16_384])
    assert time.perf_counter() - start < 1


# Secrets


def libpq(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def encoded(value: str) -> str:
    return quote(value, safe="")


FORMS: dict[str, Callable[[str], str]] = {
    "password, encoded": lambda s: f"postgresql+psycopg://user:{encoded(s)}@db:5432/app",
    "user, encoded": lambda s: f"redis://{encoded(s)}:pass@db:5432",
    "query, encoded": lambda s: f"mongodb://db:5432/?password={encoded(s)}",
    "database, encoded": lambda s: f"mysql://db:5432/{encoded(s)}",
    "libpq": lambda s: f"host=db port=5432 password={libpq(s)}",
    "libpq, another": lambda s: f"passfile={libpq(s)} host=db port=5432",
    "libpq URL": lambda s: f"postgresql:///app?host=db&port=5432&password={encoded(s)}",
}
CARELESS: dict[str, Callable[[str], str]] = {
    "password": lambda s: f"postgresql://user:{s}@db:5432/app",
    "password alone": lambda s: f"redis://:{s}@db:5432/0",
    "user": lambda s: f"redis://{s}@db:5432",
    "after an @": lambda s: f"redis://user:p@{s}@db:5432",
    "no scheme": lambda s: f"user:{s}@db:5432",
    "no host": lambda s: f"postgresql://user:{s}@/app",
    "no port": lambda s: f"own://user:{s}@db",
    "bad port": lambda s: f"redis://user:{s}@db:x",
    "bad host": lambda s: f"redis://user:{s}@d_b!:5432",
    "several hosts": lambda s: f"mongodb://user:{s}@a,b",
    "SRV": lambda s: f"mongodb+srv://user:{s}@db",
    "file": lambda s: f"sqlite://user:{s}@db/x",
    "socket": lambda s: f"unix://user:{s}@/run/x.sock",
    "socket in HTTP": lambda s: f"http+unix://user:{s}@%2Frun%2Fx.sock",
    "socket in MySQL": lambda s: f"mysql://user:{s}@/app?unix_socket=/run/x.sock",
    "two hosts": lambda s: f"postgresql://user:{s}@db/app?host=other",
    "query": lambda s: f"redis://db:5432/?password={s}&x=y",
    "unfinished quote": lambda s: f"host=db password='{s}",
}


def all_that_is_said(error: BaseException) -> str:
    """Everything that logging, pickling or printing an error would show, in lower case."""
    shown = [*traceback.format_exception(error), repr(error), str(error), repr(error.args), repr(vars(error))]
    shown.append(repr(pickle.dumps(error)))
    link: BaseException | None = error
    while link is not None:
        shown.append(repr(vars(link)) + repr(link))
        link = link.__cause__ or link.__context__
    return "\n".join(shown).lower()


edges = st.text("ab1!$%&'()*+,-./:;<=>?@[\\]^_`{|}~\"#§\u00a0漢 \n", max_size=6)
secrets = st.builds(lambda before, after: f"{before}{CORE}{after}", edges, edges)


def check(text: str) -> Endpoint | TargetError:
    """Assert that what comes of a text with a secret does not show it."""
    found = outcome(text)
    if isinstance(found, Endpoint):
        assert CORE not in f"{found}{found!r}{pickle.dumps(found)!r}".lower()
    else:
        assert CORE not in all_that_is_said(found)
    return found


@pytest.mark.parametrize("form", FORMS)
@unhurried
@given(secret=secrets)
def test_a_secret_is_never_kept(form: str, secret: str) -> None:
    """A password in its proper form leaves no trace in the endpoint, whatever its characters."""
    found = check(FORMS[form](secret))
    assert isinstance(found, Endpoint)
    assert (found.host, found.port) == ("db", 5432)


@pytest.mark.parametrize("form", CARELESS)
@unhurried
@given(secret=secrets)
@example(f"12/{CORE}")
@example(f"12?{CORE}")
@example(f"12#{CORE}")
@example(f"p@{CORE}")
@example(f"@{CORE}:1/")
def test_a_secret_that_was_written_carelessly_is_never_shown(form: str, secret: str) -> None:
    """A password that is not percent-encoded never becomes a host, and no error repeats it."""
    check(CARELESS[form](secret))


@unhurried
@given(secrets)
def test_a_careless_password_never_changes_the_host(secret: str) -> None:
    """Either the host is the one after the last "@", or the target is refused."""
    found = outcome(f"redis://user:{secret}@db:5432/0")
    assert isinstance(found, TargetError) or found == tcp("db", 5432, "redis")


def test_a_secret_in_the_environment_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Errors about a variable's value do not show it."""
    for form in CARELESS.values():
        monkeypatch.setenv("TARGET", form(f"12/{CORE}"))
        check("env:TARGET")
