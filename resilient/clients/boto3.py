"""boto3 and botocore: the connection class of a client's HTTP session, where the socket is opened.

botocore's own retries go on for what was sent and answered, or lost (throttling, 500, a reset): that is AWS's contract
with its users. A connect that has given up ends them, so that connects do not multiply.
Read and run: botocore 1.44; read: 1.31.
"""

from __future__ import annotations

import functools
import importlib
import inspect
from typing import Any, Final

from . import requests as urllib3_pools
from ._shield import GUARDED, Shield

__all__ = ["SCHEMES", "guard", "ping"]

SCHEMES: Final = ()


def guard(thing: Any, shield: Shield) -> Any:
    """Protect a client or resource, or a function that makes them: `boto3.client`, `boto3.resource`, a session's own.

    None for what does not connect.
    """
    base = importlib.import_module("botocore.client").BaseClient
    if isinstance(thing, base):
        _guard_client(thing, shield)
        return thing
    client = getattr(getattr(thing, "meta", None), "client", None)
    if isinstance(client, base):  # of a resource
        _guard_client(client, shield)
        return thing
    if inspect.isroutine(thing) and thing.__name__ in ("client", "resource", "create_client"):

        @functools.wraps(thing)
        def make(*args: Any, **kwargs: Any) -> Any:
            made = thing(*args, **kwargs)
            guard(made, shield)
            return made

        return make
    return None


def _guard_client(client: Any, shield: Shield) -> None:
    """Protect a client in place.

    Raises:
        TypeError: this version of botocore connects elsewhere.
    """
    session = getattr(getattr(client, "_endpoint", None), "http_session", None)
    manager = getattr(session, "_manager", None)
    if session is None or not hasattr(manager, "pool_classes_by_scheme"):
        raise TypeError("guard does not know where this version of botocore connects; it knows 1.31 to 1.44")
    urllib3_pools.guard_pools(manager, shield)
    for proxy in getattr(session, "_proxy_managers", {}).values():
        urllib3_pools.guard_pools(proxy, shield)
    current = getattr(session, "_get_proxy_manager", None)
    if current is not None:
        bare = getattr(current, GUARDED, current)

        def _get_proxy_manager(*args: Any, **kwargs: Any) -> Any:
            found = bare(*args, **kwargs)
            urllib3_pools.guard_pools(found, shield)
            return found

        setattr(_get_proxy_manager, GUARDED, bare)
        session._get_proxy_manager = _get_proxy_manager
    service = client.meta.service_model.service_id.hyphenize()
    client.meta.events.register_first(f"needs-retry.{service}", _give_up, unique_id="resilient")
    shield.changed("boto3: botocore's own retries of refused connects are off; those of answers and of lost ones go on")


def _give_up(caught_exception: Exception | None = None, **_: Any) -> None:
    """End botocore's retries where a connect has given up: they are decided by whoever answers this event first."""
    gave_up: type[Exception] = importlib.import_module("botocore.exceptions").EndpointConnectionError
    if caught_exception is not None and isinstance(caught_exception, gave_up):
        raise caught_exception


def ping(thing: Any) -> None:
    """A service has no command that every account may give: there is nothing to be pinged.

    Raises:
        TypeError: always.
    """
    raise TypeError(f"{type(thing).__name__}: AWS has no command that is everybody's; give its endpoint's URL instead")
