"""Methods: in a class body, bound, inherited, class and static, in either order."""

from __future__ import annotations

import abc
import asyncio
import functools
import inspect
from collections.abc import Callable
from typing import Any

import pytest
from drivers import QUIET, Client, refusal

from resilient import retry_on_refused

quickly = retry_on_refused(policy=QUIET)


class Connection:
    def __init__(self, host: str) -> None:
        self.host = host


class Connector:
    """A callable object."""

    def __init__(self, client: Client) -> None:
        self.client = client

    def __call__(self, *args: object, **kwargs: object) -> object:
        """Connect."""
        return self.client(), args, kwargs


class AsyncConnector(Connector):
    """A callable object whose call is awaited."""

    async def __call__(self, *args: object, **kwargs: object) -> object:
        """Connect."""
        return self.client(), args, kwargs


def twice() -> Client:
    return Client(refusal(), refusal())


@pytest.mark.parametrize("make", [Connector, lambda client: Connection, lambda client: client.__call__])
def test_what_is_no_method_in_a_class_body_does_not_become_one(make: Callable[[Client], Any]) -> None:
    """Objects, classes and bound methods are not given `self`, so what protects them is not either."""
    client = Client(refusal())

    class Repository:
        bare = make(client)
        connect = quickly(make(client))

    bare = inspect.signature(Repository().bare)
    assert inspect.signature(Repository().connect) == bare
    assert "self" not in bare.parameters
    Repository().connect(*(["db"] if "host" in bare.parameters else []))


def test_a_method_is_bound_to_its_instance() -> None:
    """Called on the instance or through the class, plain or asynchronous."""

    class Repository:
        def __init__(self, *errors: Exception) -> None:
            self.client = Client(*errors)

        @quickly
        def connect(self, name: str) -> tuple[Repository, str]:
            self.client()
            return self, name

        @quickly
        async def connect_async(self, name: str) -> tuple[Repository, str]:
            self.client()
            return self, name

    one, other = Repository(refusal()), Repository(refusal(), refusal())
    assert one.connect("a") == (one, "a")
    assert Repository.connect(other, name="b") == (other, "b")
    assert (one.client.calls, other.client.calls) == (2, 3)
    assert asyncio.run(one.connect_async("c")) == (one, "c")
    assert list(inspect.signature(one.connect).parameters) == ["name"]
    assert inspect.iscoroutinefunction(one.connect_async)


def test_an_inherited_method_is_found_through_super() -> None:
    """As any method is."""

    class Base:
        client = twice()

        @quickly
        def connect(self) -> str:
            return self.client()

    class Derived(Base):
        def connect(self) -> str:
            return super().connect() + "!"

    assert Derived().connect() == "connected!"


def test_a_bound_method_stays_bound() -> None:
    """It is retried with its own object."""
    client = twice()
    connector = Connector(client)
    assert quickly(connector.__call__)(1) == ("connected", (1,), {})
    assert client.calls == 3


def test_a_bound_coroutine_method_is_still_seen_as_a_coroutine_function() -> None:
    """Web frameworks look, and would run it in a thread otherwise."""
    bound = AsyncConnector(twice()).__call__
    assert inspect.iscoroutinefunction(bound)
    assert inspect.iscoroutinefunction(quickly(bound))


@pytest.mark.parametrize("outer", [True, False], ids=["decorator outside", "decorator inside"])
def test_class_methods_and_static_methods_work_in_either_order(outer: bool) -> None:
    """On the class, an instance and a subclass, plain and asynchronous."""

    def around(kind: Any) -> Callable[[Any], Any]:
        return (lambda function: quickly(kind(function))) if outer else (lambda function: kind(quickly(function)))

    class Repository:
        client = Client()

        @around(classmethod)
        def connect(cls, name: str) -> object:
            return cls.client(), cls, name

        @around(staticmethod)
        def dial(name: str) -> object:  # type: ignore[misc]
            return Repository.client(), name

        @around(classmethod)
        async def connect_async(cls, name: str) -> object:
            return cls.client(), cls, name

        @around(staticmethod)
        async def dial_async(name: str) -> object:  # type: ignore[misc]
            return Repository.client(), name

    class Derived(Repository):
        pass

    for holder in (Repository, Repository(), Derived, Derived()):
        owner = holder if isinstance(holder, type) else type(holder)
        Repository.client = twice()
        Derived.client = twice()
        assert holder.connect("a") == ("connected", owner, "a")
        Repository.client = twice()
        assert holder.dial("a") == ("connected", "a")
        Repository.client, Derived.client = twice(), twice()
        assert asyncio.run(holder.connect_async("a")) == ("connected", owner, "a")
        Repository.client = twice()
        assert asyncio.run(holder.dial_async("a")) == ("connected", "a")
    assert isinstance(vars(Repository)["connect"], classmethod)
    assert isinstance(vars(Repository)["dial"], staticmethod)


def test_a_cached_method_stays_a_method() -> None:
    """A `functools.lru_cache` object binds, and so does what protects it."""
    client = twice()

    class Repository:
        @quickly
        @functools.lru_cache  # noqa: B019
        def connect(self, name: str) -> str:
            return client() + name

    repository = Repository()
    assert [repository.connect("a"), repository.connect("a")] == ["connecteda"] * 2
    assert client.calls == 3


def test_an_abstract_method_stays_abstract() -> None:
    """Its mark is an attribute of the function."""

    class Port(abc.ABC):
        @quickly
        @abc.abstractmethod
        def connect(self) -> None: ...

    with pytest.raises(TypeError, match="abstract"):
        Port()  # type: ignore[abstract]
