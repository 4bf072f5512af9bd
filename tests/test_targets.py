"""`Targets` by themselves, and the texts that name several: no function, no circuit, no server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from resilient import Endpoint, TargetError, Targets
from resilient.failover import read_several, split

A, B, C = (Endpoint.parse(f"db-{letter}:5432") for letter in "abc")


def refusal_of(text: str) -> str:
    """What is said of a text that cannot be read."""
    with pytest.raises(TargetError) as error:
        split(text)
    return str(error.value)


# What `targets=` is given.


def test_targets_that_are_given_are_kept_as_they_are() -> None:
    targets = Targets(A, B)
    assert Targets.of(targets) is targets


def test_endpoints_that_are_given_become_sticky_targets() -> None:
    targets = Targets.of((A, "db-b:5432"))
    assert (targets.endpoints, targets.order) == ((A, B), "sticky")


def test_targets_that_are_given_have_their_order_already() -> None:
    with pytest.raises(TypeError) as error:
        Targets.of(Targets(A, B), "in_order")
    assert str(error.value) == ("order= is a setting of Targets, and they are given: write Targets(..., order=...)")


def test_what_can_be_called_is_not_gone_through() -> None:
    """Nobody can say whether it is to be asked for the endpoints, or holds them."""

    class Hosts:
        def __iter__(self) -> Iterator[Endpoint]:
            return iter((A, B))

        def __call__(self) -> tuple[Endpoint, ...]:
            return (C,)

    with pytest.raises(TypeError) as error:
        Targets.of(Hosts())
    assert str(error.value) == "targets must be endpoints, as in targets=('a:5432', 'b:5432'), not Hosts"


def test_targets_are_shown_as_their_endpoints() -> None:
    assert str(Targets(A, B)) == "db-a:5432, db-b:5432"


# Where a round begins.


def test_a_sticky_round_begins_with_the_current_endpoint() -> None:
    targets = Targets(A, B, C)
    assert targets.places() == [0, 1, 2]
    targets.prefer(C)
    assert targets.places() == [2, 0, 1]


def test_shuffled_rounds_take_every_order() -> None:
    """One of the six orders is missed in 300 rounds by chance once in 10**22."""
    targets = Targets(A, B, C, order="shuffled")
    assert len({tuple(targets.places()) for _ in range(300)}) == 6


def test_a_stranger_is_not_preferred() -> None:
    targets = Targets(A, B)
    with pytest.raises(TargetError) as error:
        targets.prefer(C)
    assert str(error.value) == "the target is none of these Targets; name one of those that they were made with"
    assert targets.current == A


# Who stays where.


def test_the_endpoint_that_worked_is_the_current_one() -> None:
    targets = Targets(A, B)
    targets.worked(B, None, (A,))
    assert targets.current == B


def test_a_preferred_endpoint_that_has_not_refused_is_not_left() -> None:
    targets = Targets(A, B)
    targets.prefer(A)
    targets.worked(B, targets.preference, ())
    assert targets.current == A


def test_a_preferred_endpoint_that_has_refused_is_left() -> None:
    targets = Targets(A, B)
    targets.prefer(A)
    targets.worked(B, targets.preference, (A,))
    assert targets.current == B


def test_a_call_from_before_a_preference_changes_nothing_after_it() -> None:
    """Not even back to the preferred endpoint, which others have found to refuse since."""
    targets = Targets(A, B, C)
    targets.prefer(A)
    targets.worked(B, targets.preference, (A,))
    targets.worked(C, None, (A,))
    assert targets.current == B


def test_a_preference_that_is_said_while_a_call_ends_holds() -> None:
    """Another thread says it when it has been looked for already, and before the call has left its mark."""

    class Interrupted(tuple[Endpoint, ...]):
        """Endpoints; who looks one up is interrupted, once."""

        def index(self, *args: Any) -> int:
            targets.endpoints = tuple(self)
            targets.prefer(C)
            return super().index(*args)

    targets = Targets(A, B, C)
    targets.endpoints = Interrupted(targets.endpoints)
    targets.worked(B, None, (A,))
    assert targets.current == C


# Texts: each endpoint is given one of its own, by which a client could connect.


@pytest.mark.parametrize(
    ("text", "texts"),
    [
        ("Xa:1, Xb:2 ,c:3", ["Xa:1", "Xb:2", "c:3"]),
        ("nats://me:s3cret@a,nats://b:2", ["nats://me:s3cret@a", "nats://b:2"]),
        ("mongodb://me:s3c,ret@a,b:2/app?w=1", ["mongodb://me:s3c,ret@a/app?w=1", "mongodb://me:s3c,ret@b:2/app?w=1"]),
        (
            "postgresql://me:s3cret@/app?host=a,b&sslmode=require&port=7",
            [
                "postgresql://me:s3cret@/app?sslmode=require&host=a&port=7",
                "postgresql://me:s3cret@/app?sslmode=require&host=b&port=7",
            ],
        ),
        (
            "host=a,b port=1,2 user=me",
            ["host='a' port='1' user='me'", "host='b' port='2' user='me'"],
        ),
        (
            r"host=a,b password='it\'s \\ back'",
            [r"host='a' password='it\'s \\ back'", r"host='b' password='it\'s \\ back'"],
        ),
    ],
)
def test_each_endpoint_has_a_text_of_its_own(text: str, texts: list[str]) -> None:
    assert [its for _, its in split(text)] == texts


@pytest.mark.parametrize(
    "text",
    [
        "postgresql:///app?host=a&application_name=x,y",
        "postgresql://a/app?x,y",
        "http://a/x?host=b,c",
        "HTTPS://a/x?port=1,2",
        "host=a password='x,y'",
        "unix:/run/a,b=c.sock",
        "unix:/run/a='b.sock",
        "unix:/run/a;b.sock",
        "[fe80::1%2c]:5432",
    ],
)
def test_a_text_that_names_one_is_left_as_it_is(text: str) -> None:
    """A comma may be that of a parameter, a password or a path, and what looks like a word may be a path as well."""
    assert split(text) == [(Endpoint.parse(text), text)]


def test_an_endpoint_has_its_own_text() -> None:
    assert split(A) == [(A, "db-a:5432")]


def test_several_addresses_are_taken_before_the_names_beside_them() -> None:
    """As libpq does: the name is for the certificate."""
    read = read_several("host=a,b hostaddr=192.0.2.1,192.0.2.2")
    assert [*map(str, read)] == ["postgresql://192.0.2.1:5432", "postgresql://192.0.2.2:5432"]


# What is refused says so from its first word.


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a:1,,b:2", "the target names several hosts, and one of them is empty; remove the comma, or name the host"),
        ("host=a,b,c port=1,2", 'the target names 3 hosts, and "port" has 2; give one for each host'),
        ("host=a port=1,2", 'the target names 2 hosts, and "host" has 1; give one for each host'),
        ("password='x,y'", "the target has no host; say which one, none is assumed"),
        ("unix:/run/a;b.sock ", "the target begins or ends with a space; remove it"),
    ],
)
def test_a_text_that_cannot_be_read_is_refused(text: str, says: str) -> None:
    assert refusal_of(text) == says


def test_a_variable_that_cannot_be_read_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DB_URLS", "a:1,b")
    assert refusal_of("env:DB_URLS") == 'environment variable DB_URLS: the target has no port; write "host:port"'


@pytest.mark.parametrize("value", ["env:SECOND_URLS", "a:1,env:SECOND_URLS", "env:SECOND_URLS, a:1"])
def test_a_variable_that_names_another_is_not_followed(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither as a whole nor for one of several endpoints."""
    monkeypatch.setenv("FIRST_URLS", value)
    monkeypatch.setenv("SECOND_URLS", "b:2")
    assert refusal_of("env:FIRST_URLS") == (
        'environment variable FIRST_URLS: the target names another environment variable; "env:" is followed once'
    )


def test_a_text_may_name_a_variable_among_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECOND_URL", "b:2")
    assert list(map(str, read_several("a:1,env:SECOND_URL"))) == ["a:1", "b:2"]


# What does not serve the same.


def test_one_endpoint_that_is_given_twice_is_refused() -> None:
    with pytest.raises(TargetError) as error:
        Targets(A, B, A)
    assert str(error.value) == (
        "targets 1 and 3 are the same endpoint; each is given once (a name that resolves to several addresses is one "
        "endpoint: its client dials them)"
    )


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (Targets, "targets are empty; name at least one endpoint, and better two"),
        (
            lambda: Targets("redis://a", "valkey://b"),
            "targets have different schemes (redis, valkey); endpoints that serve the same have one: write all of "
            "them alike",
        ),
    ],
)
def test_what_does_not_serve_the_same_is_refused(make: Callable[[], Targets], says: str) -> None:
    with pytest.raises(TargetError) as error:
        make()
    assert str(error.value) == says
