"""What clients say is shown without their secrets, on one line, and never at length."""

from __future__ import annotations

import json
import time
import unicodedata
from collections.abc import Callable
from urllib.parse import quote

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from resilient._scrub import describe, scrub, type_name

CORE = "Xk7qZ"

unhurried = settings(deadline=None, max_examples=60)
SPECIAL = "ab1!$%&'()*+,-./:;<=>?@[\\]^_`{|}~\"#§\u00a0漢"

edges = st.text(SPECIAL, max_size=6)
secrets = st.builds(lambda before, after: before + CORE + after, edges, edges)
padding = st.one_of(st.just(""), st.text("ab .,:\n", max_size=60), st.integers(0, 4000).map("z".__mul__))
surroundings = st.sampled_from(["", "no connect: ", "(", "dsn='", '{"error":"', "[Errno 111] ", "a=b, ", "\n\t", "é"])


def encoded(value: str) -> str:
    return quote(value, safe="")


def libpq(value: str) -> str:
    """Quote as the PostgreSQL manual says, 32.1.1.1."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


ANY_SECRET: dict[str, Callable[[str], str]] = {
    "a URL, percent-encoded": lambda s: f"redis://user:{encoded(s)}@db:6379/0",
    "a URL": lambda s: f"postgresql+psycopg://user:{s}@db:5432/app",
    "a URL without a user": lambda s: f"redis://:{s}@db",
    "the user of a URL": lambda s: f"https://{s}@db",
    "a query": lambda s: f"https://db:80/app?x={s}",
    "a query, percent-encoded": lambda s: f"postgresql://db/app?sslmode=require&x={encoded(s)}",
    "a URL inside a URL": lambda s: f"url=redis%3A%2F%2Fuser%3A{encoded(encoded(s))}%40db",
    "a URL in the path of another": lambda s: f"http://p/redis%3A%2F%2Fuser%3A{encoded(encoded(s))}%40db",
    "a URL in the path of another with a query": lambda s: f"http://p/redis%3A%2F%2Fu%3A{encoded(encoded(s))}%40db?x=y",
    "a libpq string": lambda s: f"host=db password={libpq(s)} user=x",
    "a bare value": lambda s: f"host=db password=x{s} user=y",
    "spaced": lambda s: f"password = {libpq(s)}",
    "a dict": lambda s: repr({"host": "db", "password": s, "port": 1}),
    "a dict of bytes": lambda s: repr({b"passwd": s.encode()}),
    "JSON": lambda s: json.dumps({"user": "x", "secret": s, "z": 1}),
    "compact JSON": lambda s: json.dumps({"token": s, "z": "a@b"}, separators=(",", ":"), ensure_ascii=False),
    "JSON in JSON": lambda s: json.dumps({"body": json.dumps({"api_key": s})}),
    "a call": lambda s: f"connect(host='db', pwd={s!r}, port=1)",
    "a pair": lambda s: repr([("client_secret", s), ("a", "b")]),
    "headers": lambda s: repr({"Authorization": f"Bearer {s}", "Host": "db"}),
    "raw headers": lambda s: repr([(b"authorization", b"Basic " + s.encode()), (b"host", b"db")]),
    "a header": lambda s: f"Authorization: Basic x{s}\r\nHost: db",
    "an API key": lambda s: f"X-Api-Key: x{s}",
    "an environment variable": lambda s: f"PGPASSWORD=x{s} psql",
    "an option": lambda s: f"psql --password=x{s} db",
    "an argument": lambda s: repr(["psql", "--password", s]),
    "SQL": lambda s: "ALTER ROLE x PASSWORD '" + s.replace("\\", "").replace("'", "''") + "'",
    "credentials": lambda s: f"auth=('user', 'x{s.replace(')', '')}')",
}
PLAIN_SECRET: dict[str, Callable[[str], str]] = {
    "user and password": lambda s: f"cannot reach user:{s}@db:5432",
    "user and password in a tuple": lambda s: f"('user:{s}@db', 5432)",
    "no user": lambda s: f"cannot reach :{s}@db",
    "bearer": lambda s: f"sent Bearer {s} to db",
    "a URL cut off": lambda s: f"invalid URL redis://user:{s}",
    "a URL cut off before a query": lambda s: f"invalid URL redis://user:{s}?x=y",
    "half a port": lambda s: f"Port could not be cast to integer value as '{s}'",
    "half a host": lambda s: f'could not translate host name "{s}@db" to address',
    "a number": lambda s: f"invalid literal for int() with base 10: '{s}'",
    "Redis' echo": lambda s: f"unknown command 'HELLO', with args beginning with: '3' 'AUTH' 'default' '{s}' ",
    "half a database": lambda s: f'FATAL:  database "{s}@127.0.0.1:1" does not exist',
    "half a socket": lambda s: f'connection to server on socket "@{s} b@db/.s.PGSQL.1" failed: Connection refused',
    "a query field": lambda s: f"bad query field: '{s}@db:1/app'",
    "an IPv6 address": lambda s: f"'{s}' does not appear to be an IPv4 or IPv6 address",
    "half a libpq port": lambda s: f'invalid integer value "1"{s}" for connection option "port"',
    "half a libpq value": lambda s: f'missing "=" after "x" {s}" in connection info string',
    "half a libpq option": lambda s: f'invalid dsn: invalid connection option "x" {s}"\n',
    "a libpq parameter": lambda s: f'missing key/value separator "=" in URI query parameter: "{s} b"\n',
    "a libpq token": lambda s: f'invalid percent-encoded token: "%" {s}"',
    "libpq's spaces": lambda s: f'unexpected spaces found in "a" {s}", use percent-encoded spaces (%20) instead',
    "a URL with a space": lambda s: f"postgresql://user:a {s}@db/app",
}


@pytest.mark.parametrize("form", ANY_SECRET)
@unhurried
@given(secret=secrets, before=surroundings, pad=padding, limit=st.integers(1, 400))
def test_no_secret_is_shown_whatever_its_characters(form: str, secret: str, before: str, pad: str, limit: int) -> None:
    """A secret of any characters is hidden in every form that can carry it, wherever the text is cut."""
    text = f"{pad} {before}{ANY_SECRET[form](secret)} and so on {pad}"
    assert CORE not in scrub(text, limit)
    assert CORE not in scrub(text, 10_000)


@pytest.mark.parametrize("form", PLAIN_SECRET)
@unhurried
@given(secret=st.text("abcDEF123-_.~+", max_size=20), pad=padding, limit=st.integers(1, 400))
def test_no_ordinary_secret_is_shown(form: str, secret: str, pad: str, limit: int) -> None:
    """A secret of the usual characters is hidden in the forms that have no quoting."""
    text = f"{pad} {PLAIN_SECRET[form](f'a{secret}{CORE}')} and so on {pad}"
    assert CORE not in scrub(text, limit)
    assert CORE not in scrub(text, 10_000)


@pytest.mark.parametrize("form", ANY_SECRET | PLAIN_SECRET)
def test_scrubbing_twice_changes_nothing(form: str) -> None:
    """What is fit to show stays as it is."""
    once = scrub((ANY_SECRET | PLAIN_SECRET)[form]("aB3x-YZ0").replace("\r\n", " ").replace("\n", " "))
    assert scrub(once) == once


@pytest.mark.parametrize(
    "text",
    [
        "[Errno 111] Connect call failed ('127.0.0.1', 1)",
        "[Errno 111] Connection refused",
        "Multiple exceptions: [Errno 111] Connect call failed ('::1', 5432, 0, 0), "
        "[Errno 111] Connect call failed ('127.0.0.1', 5432)",
        "Error 111 connecting to localhost:6379. Connection refused.",
        "(2003, \"Can't connect to MySQL server on '127.0.0.1' ([Errno 111] Connection refused)\")",
        "(1045, \"Access denied for user 'root'@'172.17.0.1' (using password: YES)\")",
        'connection to server at "127.0.0.1", port 5432 failed: FATAL:  password authentication failed for user "app"',
        "fe_sendauth: no password supplied",
        "WRONGPASS invalid username-password pair or user is disabled.",
        "NOAUTH Authentication required.",
        "Cannot connect to host localhost:1 ssl:default [Connect call failed ('127.0.0.1', 1)]",
        "localhost:27017: [Errno 111] Connection refused (configured timeouts: connectTimeoutMS: 20000.0ms)",
        "(Background on this error at: https://sqlalche.me/e/20/e3q8)",
        "http://localhost:8000: refused, see http://[::1]:80/x.",
        "ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN.",
        "Basic authentication failed; Bearer token missing",
        'unexpected token "}" at 3',
        "user bob@example.com has no mailbox",
        '{"mail":"bob@example.com","n":1}',
        "Is it up? See a=b",
        "パスワード\u3000が違います",
        "",
    ],
)
def test_an_ordinary_text_is_left_alone(text: str) -> None:
    """What clients usually say has no secret and stays readable."""
    assert scrub(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("redis://user:pass@db:1/0 failed", "redis://***@db:1/0 failed"),
        ("postgresql://user:12/3@db/app", "postgresql://***@db/app"),
        ("redis://a:b@c,redis://d:e@f", "redis://***@f"),
        ("postgresql://db/app?user=me%40corp failed", "postgresql://db/app?*** failed"),
        ("url=redis%3A%2F%2Fuser%3Apass%40db", "url=redis%3A%2F%2F***%40db"),
        ("Max retries exceeded with url: /x?a=b (Caused by …)", "Max retries exceeded with url: /x?*** (Caused by …)"),
        ("password='a b' host=db", "password='***' host=db"),
        ("password=a\\ b host=db", "password=*** host=db"),
        ("PASSWORD='a b", "PASSWORD='***"),
        ("connect(host=db, password=x)", "connect(host=db, password=***)"),
        ("{'password': 'x', 'host': 'db'}", "{'password': '***', 'host': 'db'}"),
        ('{\\"password\\": \\"x y\\", \\"n\\": 1}', '{\\"password\\": \\"***\\", \\"n\\": 1}'),
        ("Authorization: Bearer x.y to db", "Authorization: *** to db"),
        ("user:pass@db", "***@db"),
        ("a?\n\tIs it running?", "a?\\n\\tIs it running?"),
    ],
)
def test_only_the_secret_is_hidden(text: str, shown: str) -> None:
    """The rest of the text is still there."""
    assert scrub(text) == shown


@unhurried
@given(text=st.text(st.characters(), max_size=300), limit=st.integers(0, 300))
@example("a\r\nERROR forged", 200)
@example("\x1b[2J\u202e\u2028\u2029\x85\ud800\U000e0001\u200b\ufeff\u00ad", 200)
@example("\x00" * 300, 7)
def test_a_text_stays_on_its_line_and_within_its_limit(text: str, limit: int) -> None:
    """No control, format, surrogate or line-breaking character comes out, and never more than asked for."""
    shown = scrub(text, limit)
    assert len(shown) <= limit
    assert not {"Cc", "Cf", "Cs", "Zl", "Zp"} & set(map(unicodedata.category, shown))
    assert len(shown.splitlines()) <= 1


@unhurried
@given(st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters="@?%:=\"'`\\-"), max_size=200))
def test_a_text_without_signs_is_left_alone(text: str) -> None:
    """Where nothing separates a name from a value there is nothing to hide."""
    assert scrub(text) == text


@unhurried
@given(st.integers(0, 3000), st.integers(1, 200))
def test_a_long_text_ends_in_an_ellipsis(length: int, limit: int) -> None:
    """Only what was shortened says so."""
    shown = scrub("x" * length, limit)
    assert shown == "x" * length if length <= limit else shown == "x" * (limit - 1) + "…"


@pytest.mark.parametrize(
    "piece",
    [
        *("@", ":", "a:", "://", "://a:b@", "://a:b ", "@ ", "host a@b ", "?=", "%40", "%25", "%2525"),
        *("token", "token=", "token" + "a" * 40 + "\\" * 3 + " " * 8, "pass='a'b ", "password=(", "('password',"),
        *("--password ", "bearer ", "Basic a", "cookie:a ", "authorization:\t", "base 10: '", "args beginning with: "),
        *("does not appear to be an IPv4", 'host "a', 'host "@', 'missing "=" after "', "invalid port: '"),
        *("\\", "'", '"', "(", "\x00", " ", "İ"),
    ],
)
def test_a_hostile_text_takes_no_time(piece: str) -> None:
    """A million characters that a careless expression would go over again and again are scrubbed at once.

    Without the bounds this takes minutes; they are generous, for slow machines.
    """
    start = time.perf_counter()
    scrub(piece * (1_000_000 // len(piece)))
    scrub("z" + piece * (20_000 // len(piece)), 10_000)
    assert time.perf_counter() - start < 2


class Hostile(str):
    __slots__ = ()

    def __getattribute__(self, name: str) -> object:
        raise RuntimeError(name)

    def __len__(self) -> int:
        raise RuntimeError

    def __contains__(self, item: object) -> bool:
        raise RuntimeError

    def __str__(self) -> str:
        raise RuntimeError


def test_the_own_text_of_an_error_is_described() -> None:
    """`describe` is `str()`, scrubbed."""
    assert describe(ConnectionRefusedError(111, "Connection refused")) == "[Errno 111] Connection refused"
    assert describe(ValueError("redis://u:p@db\n")) == "redis://***@db\\n"
    assert len(describe(ValueError("x" * 10_000_000))) == 200


def _raise(error: BaseException) -> str:
    raise error


@pytest.mark.parametrize(
    "answer",
    [
        lambda _: _raise(RuntimeError("no")),
        lambda _: _raise(RecursionError()),
        lambda self: str(self),
        lambda _: None,
        lambda _: 3,
        lambda _: b"x",
    ],
)
def test_an_error_that_has_no_text_is_described_by_nothing(answer: Callable[[object], object]) -> None:
    """Whatever `__str__` does, `describe` does not raise."""
    assert describe(type("Odd", (Exception,), {"__str__": answer})()) == ""


def test_a_hostile_str_is_only_its_characters() -> None:
    """No method of a subclass of `str` is called."""
    assert scrub(Hostile("password=x")) == "password=***"
    assert describe(type("Odd", (Exception,), {"__str__": lambda _: Hostile("token=x")})()) == "token=***"


def test_an_interrupt_within_str_is_not_swallowed() -> None:
    """Ctrl-C is no answer of an exception's."""
    odd = type("Odd", (Exception,), {"__str__": lambda _: _raise(KeyboardInterrupt())})()
    with pytest.raises(KeyboardInterrupt):
        describe(odd)


def test_a_class_is_named_with_its_module() -> None:
    """A builtin class is named without one."""
    assert type_name(ConnectionRefusedError()) == "ConnectionRefusedError"
    assert type_name(json.JSONDecodeError("", "", 0)) == "json.decoder.JSONDecodeError"
    assert type_name(type("OperationalError", (Exception,), {"__module__": "psycopg"})()) == "psycopg.OperationalError"


class Lying(type):
    def __getattribute__(cls, name: str) -> object:
        raise RuntimeError(name)


@pytest.mark.parametrize("module", [lambda: None, lambda: 3, lambda: b"x", lambda: Hostile("x"), lambda: property()])
def test_a_class_that_lies_about_its_name_is_named(module: Callable[[], object]) -> None:
    """A metaclass that answers nonsense is not asked, and the name cannot break a line."""
    odd = Lying("Odd", (Exception,), {"__module__": module(), "__qualname__": "Od\nd" + "x" * 300})()
    assert type_name(odd) == ("Od\\nd" + "x" * 300)[:200]


def test_a_class_made_without_a_module_is_named() -> None:
    """A class may have no `__module__` at all."""
    space: dict[str, object] = {"__builtins__": {"type": type, "Exception": Exception}}
    exec("odd = type('Odd', (Exception,), {})()", space)
    odd = space["odd"]
    assert isinstance(odd, Exception)
    assert type_name(odd).endswith("Odd")
