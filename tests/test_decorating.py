"""Everything that may be decorated stays what it was, and is retried."""

from __future__ import annotations

import asyncio
import copy
import enum
import functools
import inspect
import pickle
import socket
import sys
import unittest.mock
import xmlrpc.client
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from drivers import QUIET, Client, refusal

from resilient import Endpoint, is_refused, retry_on_refused

quickly = retry_on_refused(policy=QUIET)


def module_level(client: Client, /, name: str = "db", *rest: int, port: int = 5432, **options: object) -> str:
    """Connect."""
    return f"{client()} {name} {rest} {port} {options}"


class Connection:
    """Refused until the third time."""

    refusals = 2

    def __init__(self, host: str, *, port: int = 1) -> None:
        if Connection.refusals:
            Connection.refusals -= 1
            raise refusal()
        self.host = host
        self.port = port


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
        await asyncio.sleep(0)
        return self.client(), args, kwargs


def twice() -> Client:
    return Client(refusal(), refusal())


def test_a_function_keeps_its_arguments_at_every_attempt() -> None:
    """Also those that are called as ours are."""
    client = twice()
    answer = quickly(module_level)(client, "cache", 1, 2, port=7, self=1, function=2, args=3, kwargs=4)
    assert answer == "connected cache (1, 2) 7 {'self': 1, 'function': 2, 'args': 3, 'kwargs': 4}"
    assert client.calls == 3


def test_a_bare_decorator_has_the_default_policy() -> None:
    """A minute is too long for a test, so only what it does without waiting."""

    @retry_on_refused
    def connect() -> str:
        return "connected"

    @retry_on_refused()
    def connect_as_well() -> str:
        return "connected"

    assert connect() == connect_as_well() == "connected"


@pytest.mark.parametrize("decorate", [retry_on_refused, quickly, retry_on_refused(target="db:5432")])
def test_a_function_keeps_its_face(decorate: Any) -> None:
    """Name, module, docstring, annotations, signature, attributes, and the way back to the original."""

    @functools.wraps(module_level)
    def connect(*args: Any, **kwargs: Any) -> Any: ...

    connect.owner = "me"  # type: ignore[attr-defined]
    protected = decorate(connect)
    for name in (*functools.WRAPPER_ASSIGNMENTS, "owner"):
        assert getattr(protected, name) == getattr(connect, name), name
    assert protected.__wrapped__ is connect
    assert inspect.unwrap(protected) is module_level
    assert inspect.signature(protected) == inspect.signature(module_level)
    assert inspect.isfunction(protected)
    assert not inspect.iscoroutinefunction(protected)


def test_a_coroutine_function_stays_one() -> None:
    """For whoever looks: frameworks do."""

    @quickly
    async def connect(host: str, port: int = 1) -> None:
        """Connect."""

    assert inspect.iscoroutinefunction(connect)
    assert asyncio.iscoroutinefunction(connect) if sys.version_info < (3, 14) else True
    assert list(inspect.signature(connect).parameters) == ["host", "port"]
    assert connect.__doc__ == "Connect."


def test_a_protected_function_pickles_and_copies() -> None:
    """By its name, as functions do: a process pool takes it."""
    assert pickle.loads(pickle.dumps(protected_module_level)) is protected_module_level
    assert copy.deepcopy(protected_module_level) is protected_module_level


protected_module_level = quickly(functools.wraps(module_level)(lambda: None))
protected_module_level.__qualname__ = protected_module_level.__name__ = "protected_module_level"


def test_a_coroutine_function_is_retried() -> None:
    """Each attempt is a coroutine of its own."""
    client = twice()

    @quickly
    async def connect(name: str) -> str:
        await asyncio.sleep(0)
        return client() + name

    assert asyncio.run(connect(name="!")) == "connected!"
    assert client.calls == 3


def test_an_imported_function_works_as_well(refused_port: int) -> None:
    """Without the @."""
    connect = retry_on_refused(socket.create_connection, policy=QUIET.replace(attempts=2))
    with pytest.raises(ConnectionRefusedError) as caught:
        connect(("127.0.0.1", refused_port), timeout=1)
    assert is_refused(caught.value)


def test_a_class_becomes_a_factory() -> None:
    """What it makes are instances of that class."""
    Connection.refusals = 2
    connect = quickly(Connection)
    connection = connect("db", port=7)
    assert type(connection) is Connection
    assert (connection.host, connection.port) == ("db", 7)
    assert connect.__doc__ == Connection.__doc__
    assert connect.__name__ == "Connection"
    assert list(inspect.signature(connect).parameters) == ["host", "port"]


def test_a_decorated_class_statement_is_retried() -> None:
    """The name stands for the factory then."""
    client = twice()

    @quickly
    class Session:
        def __init__(self) -> None:
            client()

    Session()
    assert client.calls == 3


def test_a_class_whose_instances_are_awaitable_gives_instances() -> None:
    """They are clients: awaiting them is for their user to do."""

    class Lazy:
        def __await__(self) -> Any:
            raise AssertionError("nobody asked for it")

    assert type(quickly(Lazy)()) is Lazy


def test_a_callable_object_is_called() -> None:
    """With its arguments."""
    client = twice()
    assert quickly(Connector(client))(1, a=2) == ("connected", (1,), {"a": 2})
    assert client.calls == 3


def test_what_has_no_docstring_is_given_none() -> None:
    """Least of all that of what protects it."""

    class Undocumented:
        def __call__(self) -> None: ...

    assert quickly(Undocumented()).__doc__ is None
    assert quickly(Undocumented).__doc__ is None


def test_a_callable_object_with_an_async_call_is_awaited() -> None:
    """It is no coroutine function, but its call is one."""
    client = twice()
    assert asyncio.run(quickly(AsyncConnector(client))(1, a=2)) == ("connected", (1,), {"a": 2})
    assert client.calls == 3


def test_a_partial_stays_a_partial() -> None:
    """Whatever looks into one still can."""
    client = twice()
    protected = quickly(functools.partial(functools.partial(module_level, client), "cache", port=7))
    assert type(protected) is functools.partial
    assert protected(3) == "connected cache (3,) 7 {}"
    assert protected(port=8) == "connected cache () 8 {}"
    assert client.calls == 4
    assert list(inspect.signature(protected).parameters) == ["rest", "port", "options"]


def test_a_partial_of_a_coroutine_function_is_awaited() -> None:
    """Also of an object with an async call."""
    client = twice()

    async def connect(name: str, port: int) -> str:
        return f"{client()} {name} {port}"

    protected = quickly(functools.partial(connect, "db"))
    assert inspect.iscoroutinefunction(protected)
    assert asyncio.run(protected(port=1)) == "connected db 1"
    assert asyncio.run(quickly(functools.partial(AsyncConnector(twice()), 1))()) == ("connected", (1,), {})


def test_a_partial_keeps_the_face_it_was_given() -> None:
    """`functools.update_wrapper` on a partial is common."""
    dressed = functools.update_wrapper(functools.partial(module_level, Client()), module_level)
    assert quickly(dressed).__name__ == "module_level"


def test_a_single_dispatch_function_keeps_its_register() -> None:
    """The attributes of a function come along."""

    @quickly
    @functools.singledispatch
    def connect(to: object) -> str:
        raise AssertionError

    connect.register(str)(lambda to: "text")
    assert connect("db") == "text"


@pytest.mark.parametrize("builtin", [len, str.upper, "a".upper, dict.fromkeys, max, divmod, int, dict])
def test_builtins_may_be_decorated(builtin: Callable[..., Any]) -> None:
    """Types, functions and methods in C."""
    arguments = {len: ("ab",), str.upper: ("a",), max: (1, 2), divmod: (7, 2), dict.fromkeys: ("ab",)}
    given = arguments.get(builtin, ())
    assert quickly(builtin)(*given) == builtin(*given)


def test_a_builtin_method_is_retried(refused_port: int) -> None:
    """That of a real socket."""
    with socket.socket() as client:
        connect = retry_on_refused(client.connect, policy=QUIET.replace(attempts=2))
        with pytest.raises(ConnectionRefusedError):
            connect(("127.0.0.1", refused_port))


def test_an_object_that_has_every_attribute_may_be_decorated() -> None:
    """An XML-RPC method answers any name with another method: `__name__` as well, and that is no text."""
    method = xmlrpc.client.ServerProxy("http://127.0.0.1:1/").system.listMethods
    protected = retry_on_refused(method, policy=QUIET.replace(attempts=2))
    with pytest.raises(ConnectionRefusedError):
        protected()


def test_mocks_may_be_decorated() -> None:
    """Plain and asynchronous ones."""
    mock = unittest.mock.Mock(side_effect=[refusal(), "connected"])
    assert quickly(mock)(1) == "connected"
    assert mock.call_args_list == [unittest.mock.call(1)] * 2
    async_mock = unittest.mock.AsyncMock(side_effect=[refusal(), "connected"])
    assert asyncio.run(quickly(async_mock)(1)) == "connected"


def test_a_function_whose_wrapped_leads_in_a_circle_may_be_decorated() -> None:
    """Looking through wrappers has an end."""

    def connect() -> str:
        return "connected"

    connect.__wrapped__ = connect  # type: ignore[attr-defined]
    assert quickly(connect)() == "connected"


def test_an_enum_member_that_is_callable_may_be_decorated() -> None:
    """It answers `__name__` in its own way."""

    class Way(enum.Enum):
        DIRECT = 1

        def __call__(self) -> str:
            return self.name

    assert quickly(Way.DIRECT)() == "DIRECT"


def test_one_decorator_serves_many_functions() -> None:
    """Settings are shared, calls are not."""
    decorate = retry_on_refused(policy=QUIET.replace(attempts=3), target=Endpoint(host="db", port=1))
    clients = [Client(refusal(), refusal()) for _ in range(3)]
    assert [decorate(client)() for client in clients] == ["connected"] * 3


def test_a_decorated_function_is_decorated_again_without_multiplying() -> None:
    """The inner policy is the one that counts."""
    client = Client(*(refusal() for _ in range(9)))
    with pytest.raises(ConnectionRefusedError):
        retry_on_refused(policy=QUIET.replace(attempts=3))(retry_on_refused(policy=QUIET.replace(attempts=2))(client))()
    assert client.calls == 2


def coroutine_lambda(client: Client) -> Callable[[], Coroutine[Any, Any, str]]:
    async def connect() -> str:
        await asyncio.sleep(0)
        return client()

    return lambda: connect()


def test_a_lambda_that_returns_a_coroutine_object_is_retried() -> None:
    """Each attempt is a new call of the lambda, and so a new coroutine."""
    client = twice()
    assert asyncio.run(quickly(coroutine_lambda(client))()) == "connected"
    assert client.calls == 3
